// The wire where WebSockets are blocked: one response tells of all logs, in a socket's frames, and submits go over plain
// requests. Loaded only there.
import type { Cancel } from "./clock.js";
import { TidewireError, leftOff, networkError, type WireError } from "./error.js";
import { messages } from "./sse-parser.js";
import { submitByHttp } from "./submission.js";
import { ANSWER_MS, resume, type Cursor, type Host, type Submit, type Wire, type WireEvent } from "./wire.js";

/** What is followed within so long is asked for with one request: a page that opens follows all at once. */
const TOGETHER_MS = 20;
/** The server sends a comment every 15 s; two of them and a margin. */
const SILENCE_MS = 40_000;

interface Frame {
  op: string;
  ref?: string;
  log?: string;
  task?: string;
  epoch: number;
  events: WireEvent[];
  reason?: string;
  place?: number;
  wait_ms?: number;
  error: WireError;
}

export class SseWire implements Wire {
  readonly #host: Host;
  readonly #abort = new AbortController();
  readonly #cursors = new Map<string, Cursor>();
  #response = new AbortController();
  #due: Cancel | undefined;
  #asking = false;
  #open = false;

  constructor(host: Host) {
    this.#host = host;
    this.ping();
  }

  /** Also what opens it. */
  ping(): void {
    if (this.#asking) return;
    this.#asking = true;
    const at = this.#host.clock.now();
    this.#host.http.send("GET", "v1/session", { signal: this.#abort.signal, withinMs: ANSWER_MS }).then(
      () => {
        this.#asking = false;
        if (this.#abort.signal.aborted) return;
        if (!this.#open) this.#host.opened();
        this.#open = true;
        this.#host.heard(this.#host.clock.now() - at);
      },
      (error) => this.#lose(error),
    );
  }

  #lose(error: unknown): void {
    if (this.#abort.signal.aborted) return;
    this.close();
    this.#host.lost({ error: error instanceof TidewireError ? error : networkError(String(error)) });
  }

  close(): void {
    this.#abort.abort();
    this.#response.abort();
    this.#due?.();
  }

  follow(cursor: Cursor): void {
    this.#cursors.set(cursor.id, cursor);
    this.#turn();
  }

  unfollow(cursor: Cursor): void {
    if (this.#cursors.delete(cursor.id)) this.#turn();
  }

  /** Asks for what is followed now, in place of what was asked for before. */
  #turn(): void {
    this.#due ??= this.#host.clock.after(TOGETHER_MS, () => {
      this.#due = undefined;
      void this.#listen();
    });
  }

  async #listen(): Promise<void> {
    this.#response.abort();
    if (!this.#cursors.size) return;
    const { signal } = (this.#response = new AbortController());
    const { clock, http } = this.#host;
    let silence: Cancel = () => {};
    const heard = () => {
      silence();
      silence = clock.after(SILENCE_MS, () => this.#lose(networkError("the server is silent")));
    };
    try {
      heard();
      const logs = Array.from(this.#cursors.values(), (cursor) => ({ log: cursor.id, ...resume(cursor) }));
      const response = await http.send("POST", "v1/follow", { signal, body: { logs } });
      for await (const { data } of messages(response, heard)) {
        if (signal.aborted) return;
        this.#hear(JSON.parse(data) as Frame);
      }
      // It ends when all logs have. Those that are followed since are asked for already.
      if (this.#cursors.size && !this.#due) throw networkError("the response broke off");
    } catch (error) {
      if (!signal.aborted) this.#lose(error);
    } finally {
      silence();
    }
  }

  #hear(frame: Frame): void {
    const cursor = this.#cursors.get(frame.log ?? frame.task ?? frame.ref ?? "");
    if (frame.op === "error" && !frame.ref) return this.#lose(new TidewireError(frame.error));
    if (!cursor) return;
    if (frame.op === "events") {
      if (!this.#host.took(cursor, frame.epoch, frame.events)) this.#turn();
    } else if (frame.op === "waiting") {
      cursor.waiting(frame.place, frame.wait_ms);
    } else if (frame.op === "unfollowed" || frame.op === "error") {
      this.#cursors.delete(cursor.id);
      const why = frame.op === "error" ? new TidewireError(frame.error) : leftOff(frame.reason);
      if (!cursor.settled) this.#host.unfollowable(cursor, why);
    }
  }

  submit(submit: Submit): void {
    submitByHttp(this.#host, submit, this.#abort.signal);
  }
}
