// A real server for a test: its own data, a free port, and a way to kill it and start it again on the same port.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { connect, type Client, type Options, type SocketLike } from "@tidewire/client";

const CACHE = process.env["TIDEWIRE_CACHE"] ?? join(homedir(), ".cache/tidewire");
const TARGET = process.env["CARGO_TARGET_DIR"] ?? join(CACHE, "target");
const BINARY = process.env["TIDEWIRE_BINARY"] ?? join(TARGET, "release/tidewire");

/** Variables named TIDEWIRE_… are settings of the server: those here are meant for the tests. */
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TIDEWIRE_")));

const CONFIG = `[built_in]
enabled = false
[[deployment]]
name = "scripted"
backend = "scripted"
slots = 64
`;

let started = 0;

export class Server {
  url = "";
  #process: ChildProcess | undefined;
  readonly #folder: string;

  readonly #env: Record<string, string | undefined>;

  private constructor(folder: string, env: Record<string, string>) {
    this.#folder = folder;
    this.#env = { ...ENVIRONMENT, ...env };
  }

  static async start(env: Record<string, string> = {}): Promise<Server> {
    const server = new Server(await mkdtemp(join(tmpdir(), "tidewire-sdk-")), env);
    await writeFile(join(server.#folder, "tidewire.toml"), CONFIG);
    // Of its own: while it is down, no other server and no client is given its port.
    await server.#run(`127.${1 + ((process.pid >> 8) % 254)}.${process.pid % 256}.${1 + (started++ % 254)}:0`);
    return server;
  }

  async #run(listen: string): Promise<void> {
    const files = ["--data", join(this.#folder, "data"), "--config", join(this.#folder, "tidewire.toml")];
    const child = (this.#process = spawn(BINARY, ["serve", "--listen", listen, ...files], { env: this.#env }));
    let told = "";
    child.stderr!.on("data", (text: Buffer) => (told = (told + text).slice(-4_000)));
    this.url = await new Promise((ready, failed) => {
      let out = "";
      child.stdout!.on("data", (text: Buffer) => {
        out += text;
        const url = / is ready at (\S+)/.exec(out)?.[1];
        if (url) ready(url);
      });
      child.once("error", failed);
      child.once("exit", (code) => failed(new Error(`the server ended with ${code}: ${told}`)));
    });
  }

  /** As a crash: nothing is said or written any more. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  /** On the same port, with the same data. */
  async again(): Promise<void> {
    await this.#run(new URL(this.url).host);
  }

  async end(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** The answer as the server has it. */
  async text(task: string, headers: Record<string, string> = {}): Promise<string> {
    const answer = await fetch(new URL(`/v1/tasks/${task}/text?wait_ms=30000`, this.url), { headers });
    return answer.text();
  }
}

/** A client as a program on node has it. */
export const client = (url: string, options: Options = {}): Client =>
  connect({
    url,
    ...options,
    environment: { WebSocket: WebSocket as unknown as new (url: string) => SocketLike, ...options.environment },
  });

/** What a task asks of the scripted model. */
export const script = (fields: Record<string, unknown>, content = "go on") => ({
  messages: [{ role: "user", content }],
  script: fields,
});

/** Resolves once `look` holds, which is asked with every change. */
export function reach(store: { subscribe(listener: () => void): () => void }, look: () => boolean): Promise<void> {
  return new Promise((done) => {
    let leave = () => {};
    const check = () => {
      if (!look()) return;
      leave();
      done();
    };
    leave = store.subscribe(check);
    check();
  });
}
