// A made-up world: a clock that a test drives, and a server that hands out its frames one by one.
import { connect, type Client, type Clock, type Options, type SocketLike, type ToolCall } from "@tidewire/client";
import { between } from "../random.js";

export interface Event {
  offset: number;
  count?: number;
  type: string;
  at: number;
  data: unknown;
}

export interface Log {
  epoch: number;
  events: Event[];
}

type Frame = { op: string; ref?: string } & Record<string, unknown>;

export class HandClock implements Clock {
  time = 0;
  readonly #chance: () => number;
  #planned: { at: number; run: () => void }[] = [];
  #frames: (() => void)[] = [];

  constructor(chance: () => number = () => 0.5) {
    this.#chance = chance;
  }

  now = () => this.time;
  random = () => this.#chance();

  after(ms: number, run: () => void) {
    const plan = { at: this.time + ms, run };
    this.#planned.push(plan);
    return () => void (this.#planned = this.#planned.filter((other) => other !== plan));
  }

  frame(run: () => void) {
    this.#frames.push(run);
  }

  /** How many frames wait to be painted. */
  get frames(): number {
    return this.#frames.length;
  }

  paint(): void {
    for (const run of this.#frames.splice(0)) run();
  }

  /** Lets time go by, and what was planned happen. */
  async advance(ms: number): Promise<void> {
    const until = this.time + ms;
    await settle();
    for (;;) {
      const [next] = this.#planned.filter(({ at }) => at <= until).sort((one, two) => one.at - two.at);
      if (!next) break;
      this.#planned = this.#planned.filter((plan) => plan !== next);
      this.time = Math.max(this.time, next.at);
      next.run();
      await settle();
    }
    this.time = until;
  }
}

/** Lets all promises that can go on do so. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((done) => setImmediate(done));
}

export class FakeSocket implements SocketLike {
  onopen: SocketLike["onopen"] = null;
  onmessage: SocketLike["onmessage"] = null;
  onclose: SocketLike["onclose"] = null;
  onerror: SocketLike["onerror"] = null;
  closed = false;
  /** What the client said. */
  readonly heard: Frame[] = [];
  /** What it will hear, in this order. */
  readonly queue: Frame[] = [];
  readonly url: string;
  readonly #world: World;

  constructor(world: World, url: string) {
    this.#world = world;
    this.url = url;
  }

  send(text: string): void {
    const frame = JSON.parse(text) as Frame;
    this.heard.push(frame);
    this.#world.answer(this, frame);
  }

  close(): void {
    this.closed = true;
  }

  /** The next frame arrives, if there is one. */
  deliver(): boolean {
    const frame = this.queue.shift();
    if (!frame || this.closed) return false;
    this.onmessage?.({ data: JSON.stringify(frame) });
    return true;
  }

  drop(code = 1006, reason = ""): void {
    this.closed = true;
    this.onclose?.({ code, reason });
  }
}

export class World {
  readonly clock: HandClock;
  readonly sockets: FakeSocket[] = [];
  readonly logs = new Map<string, Log>();
  /** Idempotency keys, and their tasks. */
  readonly keys = new Map<string, string>();
  readonly requests: { method: string; path: string; headers: Headers; body: unknown }[] = [];
  /** Answers of other paths. */
  readonly routes = new Map<string, () => Response>();
  upgrades: "accept" | "refuse" | "ignore" = "accept";
  network = true;
  /** Whether pings are answered. */
  alive = true;
  readonly #chance: () => number;

  constructor(chance: () => number = () => 0.5) {
    this.#chance = chance;
    this.clock = new HandClock(chance);
  }

  connect(options: Options = {}): Client {
    const world = this;
    class Socket extends FakeSocket {
      constructor(url: string) {
        super(world, url);
        world.sockets.push(this);
        world.clock.after(1, () => {
          if (this.closed || world.upgrades === "ignore") return;
          if (world.upgrades === "accept" && world.network) this.onopen?.();
          else this.drop();
        });
      }
    }
    const environment = { WebSocket: Socket, fetch: this.#fetch, clock: this.clock };
    return connect({ url: "http://server.test", ...options, environment: { ...environment, ...options.environment } });
  }

  get socket(): FakeSocket {
    return this.sockets.at(-1)!;
  }

  /** Opens the newest connection. */
  async open(): Promise<FakeSocket> {
    await this.clock.advance(1);
    return this.socket;
  }

  /** Delivers all that waits. */
  async flow(): Promise<void> {
    await settle();
    while (this.socket.deliver()) await settle();
  }

  /** Lets everything go well until this is settled. */
  async finish<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    promise.finally(() => (settled = true)).catch(() => {});
    for (let step = 0; !settled; step++) {
      if (step > 200) throw new Error("it does not come to an end");
      await this.flow();
      await this.clock.advance(500);
    }
    return promise;
  }

  answer(socket: FakeSocket, { op, ref, ...frame }: Frame): void {
    const say = (told: object) => void socket.queue.push({ ...told, ref } as Frame);
    if (op === "ping" && this.alive) say({ op: "pong" });
    if (op === "submit") {
      const { idempotency_key: key } = frame["task"] as { idempotency_key: string };
      const known = this.keys.get(key);
      const id = known ?? `task_${this.keys.size}`;
      this.keys.set(key, id);
      if (!this.logs.has(id)) this.logs.set(id, { epoch: 7, events: [] });
      say({
        op: "ack",
        task: id,
        log: id,
        epoch: this.logs.get(id)!.epoch,
        state: "queued",
        known: known !== undefined,
      });
      if (frame["follow"]) this.#tell(socket, id, 0);
    }
    if (op === "unfollow") say({ op: "unfollowed", log: frame["log"], reason: "asked" });
    if (op === "follow") {
      const id = String(frame["log"]);
      const log = this.logs.get(id);
      const refuse = (code: string) => say({ op: "error", error: { code, message: code } });
      if (!log) return refuse("unknown_log");
      if (frame["epoch"] !== undefined && frame["epoch"] !== log.epoch) return refuse("epoch_changed");
      const next = frame["after"] === undefined ? 0 : Number(frame["after"]) + 1;
      say({ op: "following", log: id, epoch: log.epoch, tail: tail(log) });
      this.#tell(socket, id, next);
    }
  }

  /** The log from there, merged and cut into frames by chance. */
  #tell(socket: FakeSocket, id: string, next: number): void {
    const log = this.logs.get(id)!;
    const { epoch } = log;
    const events = log.events.filter(({ offset, count = 1 }) => offset + count > next);
    while (events.length) {
      const some = merged(events.splice(0, between(this.#chance, 1, 5)), this.#chance);
      const last = some.at(-1)!;
      socket.queue.push({
        op: "events",
        log: id,
        epoch,
        from: some[0]!.offset,
        to: last.offset + (last.count ?? 1),
        events: some,
      });
    }
    if (log.events.at(-1)?.type === "end") socket.queue.push({ op: "unfollowed", log: id, reason: "ended" });
  }

  readonly #fetch: typeof fetch = async (input, init) => {
    const { pathname, searchParams } = new URL(String(input));
    const body = typeof init?.body === "string" ? (JSON.parse(init.body) as unknown) : init?.body;
    this.requests.push({ method: init?.method ?? "GET", path: pathname, headers: new Headers(init?.headers), body });
    if (!this.network) throw new TypeError("fetch failed");
    const route = this.routes.get(pathname);
    if (route) return route();
    if (pathname === "/v1/tickets") return Response.json({ ticket: "tk_once" });
    if (pathname === "/readyz") return Response.json({ version: "9.9.9" });
    const log = this.logs.get(/tasks\/(\w+)\/events/.exec(pathname)?.[1] ?? "");
    if (!log) return Response.json({});
    const after = searchParams.get("after");
    const next = after === null ? 0 : Number(after) + 1;
    return Response.json({ epoch: log.epoch, events: log.events.filter(({ offset }) => offset >= next) });
  };
}

const tail = ({ events }: Log): number => {
  const last = events.at(-1);
  return last ? last.offset + (last.count ?? 1) : 0;
};

/** Adjacent texts as one event, or not. */
function merged(events: Event[], chance: () => number): Event[] {
  const out: Event[] = [];
  for (const event of events) {
    const last = out.at(-1);
    if (last?.type === "text" && event.type === "text" && chance() < 0.5) {
      out[out.length - 1] = { ...last, count: (last.count ?? 1) + 1, data: `${last.data}${event.data}` };
    } else {
      out.push(event);
    }
  }
  return out;
}

/** A log of one task: attempts that fail and begin anew, and one that ends well. */
export function story(
  chance: () => number,
  attempts = between(chance, 1, 4),
): { log: Log; text: string; toolCalls: ToolCall[] | undefined } {
  const events: Event[] = [];
  const add = (type: string, data: unknown) =>
    events.push({ offset: events.length, type, at: 1_000 + events.length, data });
  let text = "";
  let toolCalls: ToolCall[] = [];
  for (let attempt = 1; attempt <= attempts; attempt++) {
    add("started", { attempt, model: "m", deployment: "d" });
    const begins = events.length;
    text = "";
    for (let token = between(chance, 0, 12); token > 0; token--) {
      const piece = ["w", "é", "🌊", "\n", '"\\'][between(chance, 0, 5)]! + token;
      add("text", piece);
      text += piece;
      if (chance() < 0.1) add("logprobs", [{ token: piece, logprob: -1 }]);
    }
    toolCalls = [];
    const calls = between(chance, 0, 3);
    for (let index = 0; index < calls; index++) {
      const call = { id: `call_${attempt}_${index}`, name: `tool_${index}`, arguments: `{"n":${attempt}}` };
      const { id, name } = call;
      add("tool_call", [{ index, id, type: "function", function: { name, arguments: "" } }]);
      for (const piece of call.arguments) add("tool_call", [{ index, function: { arguments: piece } }]);
      toolCalls.push(call);
    }
    if (attempt === attempts) break;
    add("retry", { attempt, code: "upstream_broken", after_ms: 5 });
    if (events.length > begins + 1) add("rewind", { to: begins });
  }
  add("end", { state: "done", finish_reason: "stop", usage: { input_tokens: 1, output_tokens: 2 } });
  return {
    log: { epoch: between(chance, 1, 1_000), events },
    text,
    toolCalls: toolCalls.length ? toolCalls : undefined,
  };
}
