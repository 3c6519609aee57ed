// The wire where WebSockets are blocked: server-sent events over fetch, and plain requests. Loaded only there.
import type { Cancel } from "./clock.js";
import { TidewireError, networkError } from "./error.js";
import { query } from "./http.js";
import { messages } from "./sse-parser.js";
import { submitByHttp } from "./submission.js";
import { ANSWER_MS, PAGE_MS, resume, type Cursor, type Host, type Submit, type Wire, type WireEvent } from "./wire.js";

/** Over HTTP/1.1 a browser opens six connections to one server; two are left for requests. The other logs are polled. */
const MAX_STREAMS = 4;
/** How often each polled log is asked for, where they are few. */
const POLL_EVERY_MS = 1_000;
/** Between two polls, where they are many. */
const POLL_PAUSE_MS = 50;
/** The server sends a comment every 15 s; two of them and a margin. */
const SILENCE_MS = 40_000;

interface Page {
  epoch: number;
  events: WireEvent[];
}

export class SseWire implements Wire {
  readonly #host: Host;
  readonly #abort = new AbortController();
  readonly #streams = new Map<Cursor, AbortController>();
  readonly #polled = new Set<Cursor>();
  #polling: Cancel | undefined;
  #asking = false;

  constructor(host: Host) {
    this.#host = host;
    this.ping();
  }

  /** Also what opens it. */
  ping(): void {
    if (this.#asking) return;
    this.#asking = true;
    const at = this.#host.clock.now();
    const opening = !this.#abort.signal.aborted && this.#polling === undefined;
    this.#host.http.send("GET", "v1/session", { signal: this.#abort.signal, withinMs: ANSWER_MS }).then(
      () => {
        this.#asking = false;
        if (this.#abort.signal.aborted) return;
        if (opening) {
          this.#poll();
          this.#host.opened();
        }
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
    this.#polling?.();
    for (const stream of this.#streams.values()) stream.abort();
  }

  follow(cursor: Cursor): void {
    this.#streams.get(cursor)?.abort();
    this.#streams.delete(cursor);
    this.#polled.delete(cursor);
    if (this.#streams.size < MAX_STREAMS) void this.#stream(cursor);
    else this.#polled.add(cursor);
  }

  unfollow(cursor: Cursor): void {
    this.#polled.delete(cursor);
    this.#streams.get(cursor)?.abort();
    if (!this.#streams.delete(cursor)) return;
    for (const next of this.#polled) return this.follow(next);
  }

  async #stream(cursor: Cursor): Promise<void> {
    const own = new AbortController();
    const { signal } = own;
    this.#streams.set(cursor, own);
    const { clock, http } = this.#host;
    let silence: Cancel = () => {};
    const heard = () => {
      silence();
      silence = clock.after(SILENCE_MS, () => this.#lose(networkError("the server is silent")));
    };
    try {
      heard();
      const path = `${cursor.path}/events${query({ format: "sse", ...resume(cursor) })}`;
      const response = await http.send("GET", path, { signal, headers: { accept: "text/event-stream" } });
      const epoch = Number(response.headers.get("tidewire-epoch"));
      // It has ended where it was remembered to go on.
      if (response.status === 204) throw new TidewireError({ code: "epoch_changed", message: "the log ended unseen" });
      for await (const { event, data } of messages(response, heard)) {
        if (signal.aborted) return;
        const told = JSON.parse(data) as WireEvent & {
          place?: number;
          wait_ms?: number;
          code: string;
          message: string;
        };
        if (event === "waiting") cursor.waiting(told.place, told.wait_ms);
        else if (event === "error") throw new TidewireError(told);
        else if (!this.#host.took(cursor, epoch, [told])) return this.follow(cursor);
        if (cursor.settled) return this.unfollow(cursor);
      }
      throw networkError("the stream broke off");
    } catch (error) {
      if (!signal.aborted) this.#failed(cursor, error);
    } finally {
      silence();
    }
  }

  #failed(cursor: Cursor, error: unknown): void {
    if (!(error instanceof TidewireError) || error.code === "network" || error.status === 401) return this.#lose(error);
    this.unfollow(cursor);
    this.#host.unfollowable(cursor, error);
  }

  /** Asks for the news of one log after the other. */
  #poll(): void {
    const pause = Math.max(POLL_PAUSE_MS, POLL_EVERY_MS / Math.max(1, this.#polled.size));
    this.#polling = this.#host.clock.after(pause, async () => {
      for (const cursor of this.#polled) {
        // To the end of the line.
        this.#polled.delete(cursor);
        this.#polled.add(cursor);
        await this.#page(cursor);
        break;
      }
      if (!this.#abort.signal.aborted) this.#poll();
    });
  }

  async #page(cursor: Cursor): Promise<void> {
    const { http } = this.#host;
    const { signal } = this.#abort;
    try {
      const path = `${cursor.path}/events${query({ format: "json", ...resume(cursor) })}`;
      const page = await http.json<Page>("GET", path, { signal, withinMs: PAGE_MS });
      if (!this.#polled.has(cursor)) return;
      this.#host.took(cursor, page.epoch, page.events);
      if (cursor.settled) this.#polled.delete(cursor);
    } catch (error) {
      if (!signal.aborted) this.#failed(cursor, error);
    }
  }

  submit(submit: Submit): void {
    submitByHttp(this.#host, submit, this.#abort.signal);
  }
}
