// The one subscription of the operations' pages: /v1/operations as a stream, come back to after each cut, held while paused.
import { backoff, type Cancel, type Clock } from "@tidewire/client/clock";
import { messages } from "@tidewire/client/sse";
import { TidewireError } from "@tidewire/client";
import { fold } from "./fold";
import type { Snapshot } from "./model";

export interface Live {
  snapshot: Snapshot | undefined;
  link: "connecting" | "live" | "cut" | "refused";
  /** When the server was last heard, a heartbeat included; 0 before the first word. */
  heardAt: number;
  error: unknown;
  /** Since when what is shown stands still. */
  pausedAt: number | undefined;
  /** How far this machine's clock is ahead of the server's. */
  aheadMs: number;
}

/** The server says something every 15 s; twice that and a little is a connection that is dead without saying so. */
const SILENCE_MS = 35_000;
/** Goes from page to page without a new connection. */
const LINGER_MS = 2_000;
/** These do not get better by asking again. */
const FINAL = new Set([401, 403, 404, 405]);

const silent = () => new TidewireError({ code: "network", message: "The server fell silent" });

interface Means {
  open: (signal: AbortSignal) => Promise<Response>;
  clock: Clock;
  /** The time of day. */
  today: () => number;
}

export class Feed {
  #live: Live = {
    snapshot: undefined,
    link: "connecting",
    heardAt: 0,
    error: undefined,
    pausedAt: undefined,
    aheadMs: 0,
  };
  #shown = this.#live;
  readonly #listeners = new Set<() => void>();
  #attempt: AbortController | undefined;
  #later: Cancel | undefined;
  #failures = 0;
  #heardAt = 0;

  constructor(private readonly means: Means) {}

  get = (): Live => this.#shown;

  get watched(): boolean {
    return this.#listeners.size > 0;
  }

  /** The first who looks opens the stream; a while after the last one has gone it is closed. */
  subscribe = (changed: () => void): (() => void) => {
    this.#listeners.add(changed);
    if (this.#listeners.size === 1) this.look();
    return () => {
      this.#listeners.delete(changed);
      if (this.#listeners.size > 0) return;
      this.#later?.();
      this.#later = this.means.clock.after(LINGER_MS, this.sleep);
    };
  };

  /** Everything that is live stands still, as of now; what comes meanwhile is kept for the end of it. */
  pause = (paused: boolean) => {
    this.#live = { ...this.#live, pausedAt: paused ? this.means.today() : undefined };
    this.#shown = this.#live;
    this.#tell();
  };

  /** Asks anew, now: after a refusal, after a wait, when the page is looked at again. */
  wake = () => {
    this.#later?.();
    this.#later = undefined;
    if (!this.#attempt) void this.#follow();
  };

  /** Somebody looks: there is to be a stream, unless it was refused for good. */
  look = () => {
    if (this.watched && this.#live.link !== "refused") this.wake();
  };

  /** Nobody looks: no stream. */
  sleep = () => {
    this.#later?.();
    this.#later = undefined;
    this.#attempt?.abort();
    this.#attempt = undefined;
  };

  async #follow() {
    const attempt = new AbortController();
    this.#attempt = attempt;
    const { clock, open, today } = this.means;
    let silence: Cancel = () => {};
    const heard = () => {
      silence();
      this.#heardAt = today();
      silence = clock.after(SILENCE_MS, () => attempt.abort(silent()));
    };
    let error: unknown = new TidewireError({ code: "network", message: "The connection ended" });
    silence = clock.after(SILENCE_MS, () => attempt.abort(silent()));
    try {
      const response = await open(attempt.signal);
      for await (const { event, data } of messages(response, heard)) {
        if (this.#attempt !== attempt) break;
        const said = JSON.parse(data);
        // The key was revoked, or the like: the next attempt is told so by its status.
        if (event === "error") throw new TidewireError(said.error ?? said);
        this.#failures = 0;
        const snapshot = fold(this.#live.snapshot, event, said);
        const at = said.server?.at ?? said.at;
        this.#put({
          snapshot,
          link: "live",
          heardAt: this.#heardAt,
          error: undefined,
          ...(at ? { aheadMs: this.#heardAt - at } : {}),
        });
      }
    } catch (fault) {
      error = fault;
    }
    silence();
    // Put to sleep, or woken with another attempt: that one counts.
    if (this.#attempt !== attempt) return;
    this.#attempt = undefined;
    const final = error instanceof TidewireError && FINAL.has(error.status ?? 0);
    this.#put({ link: final ? "refused" : this.#live.snapshot ? "cut" : "connecting", error, heardAt: this.#heardAt });
    if (final || this.#listeners.size === 0) return;
    const atLeast = error instanceof TidewireError ? (error.retryAfterMs ?? 0) : 0;
    this.#later = clock.after(Math.max(atLeast, backoff(clock, this.#failures++)), this.wake);
  }

  #put(change: Partial<Live>) {
    this.#live = { ...this.#live, ...change };
    // A pause holds the figures; how the link stands is told all the same.
    this.#shown = this.#live.pausedAt === undefined ? this.#live : { ...this.#live, snapshot: this.#shown.snapshot };
    this.#tell();
  }

  #tell() {
    for (const changed of this.#listeners) changed();
  }
}
