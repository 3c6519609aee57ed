// A server of a test's own, which it may kill: the program under test, with the scripted backend.
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const program = process.env.TIDEWIRE_TEST_PROGRAM;

const CONFIG = `[built_in]
enabled = false
[[deployment]]
name = "scripted"
backend = "scripted"
slots = 24
`;

let started = 0;

/** Starts it, with another `config` or with `more` of it; `restart` kills it with no warning and starts it again at the same address, with the same data. */
export async function ownServer({ adminKey, config = CONFIG, more = "" } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "tidewire-browser-"));
  await writeFile(join(folder, "tidewire.toml"), config + more);
  let child;
  // Of its own: while it is down, no other server and no client is given its port.
  let address = `127.${1 + ((process.pid >> 8) % 254)}.${process.pid % 256}.${1 + (started++ % 254)}:0`;
  const start = async () => {
    // The program takes every variable of its name for a setting, but for the folder where models are.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TIDEWIRE_") || name === "TIDEWIRE_CACHE"));
    if (adminKey) env.TIDEWIRE_ADMIN_KEY = adminKey;
    child = spawn(program, ["serve", "--listen", address, "--data", join(folder, "data"), "--config", join(folder, "tidewire.toml")], { env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    child.stderr.on("data", (text) => { said += text; });
    const url = await new Promise((resolve, reject) => {
      let out = "";
      child.stdout.on("data", (text) => {
        out += text;
        const found = / is ready at (http\S+)/.exec(out);
        if (found) resolve(found[1]);
      });
      child.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${said}`)));
    });
    address = new URL(url).host;
    return `${url}/`;
  };
  const gone = () => (child.exitCode !== null || child.signalCode !== null ? undefined : new Promise((resolve) => { child.removeAllListeners("exit"); child.on("exit", resolve); child.kill("SIGKILL"); }));
  const url = await start();
  return {
    url, folder,
    kill: gone,
    start,
    async end() {
      await gone();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
