// The one connection of a client: what is followed and submitted over it outlives every wire.
import { backoff, type Cancel, type Clock } from "./clock.js";
import { TidewireError, closedError, networkError, startsOver } from "./error.js";
import { Listeners, type Flushable, type Flusher } from "./flusher.js";
import { defined, type Http } from "./http.js";
import { SocketWire } from "./socket.js";
import type { ConnectionStatus, SocketLike, Transport } from "./types.js";
import {
  ANSWER_MS,
  type Ack,
  type Cursor,
  type Host,
  type Loss,
  type Submit,
  type Wire,
  type WireEvent,
} from "./wire.js";

/** As long as a person takes a pause for one, not for a fault. */
const OFFLINE_AFTER_MS = 3_000;
/** So many refused upgrades in a row, while HTTP works, are a proxy that has no WebSockets; one may be a restart. */
const UPGRADES_REFUSED = 2;
/** Submits that wait for their ack: a form of 1,000 rows; each is kept in memory while the network is away. */
const MAX_SUBMITS = 1_000;

const CLOSE_CODES: Record<number, string> = { 4500: "protocol_violation", 4501: "key_revoked", 4502: "key_expired" };
/** Who asks may not, or there is no such server. */
const REFUSALS = [401, 403, 404];

/** Whether the same would happen again. */
const terminal = (code: number): boolean => [1002, 1003, 1007, 1009].includes(code) || (code >= 4500 && code <= 4999);

export class Connection implements Host, Flushable {
  readonly clock: Clock;
  readonly http: Http;
  readonly WebSocket: (new (url: string) => SocketLike) | undefined;
  readonly #listeners = new Listeners();
  snapshot: ConnectionStatus;
  readonly #flusher: Flusher;
  readonly #cursors = new Set<Cursor>();
  readonly #submits = new Set<Submit>();
  readonly #auto: boolean;
  #transport: Transport;
  #wire: Wire | undefined;
  #phase: "connecting" | "open" | "waiting" = "connecting";
  #error: TidewireError | undefined;
  #failures = 0;
  #upgradesRefused = 0;
  #downSince = 0;
  #retryInMs: number | undefined;
  #retry: Cancel | undefined;
  #roundTripMs: number | undefined;
  #version: string | undefined;
  readonly #closing = new AbortController();

  constructor(parts: {
    clock: Clock;
    http: Http;
    flusher: Flusher;
    WebSocket: (new (url: string) => SocketLike) | undefined;
    transport: "auto" | Transport;
  }) {
    this.clock = parts.clock;
    this.http = parts.http;
    this.WebSocket = parts.WebSocket;
    this.#flusher = parts.flusher;
    this.#auto = parts.transport === "auto";
    this.#transport = parts.transport === "sse" ? "sse" : "websocket";
    this.#down();
    watchBrowser(
      this.#closing.signal,
      (visible) => (this.#phase === "open" ? this.#wire?.ping() : visible && this.wake()),
      () => {
        // Another network may let WebSockets through.
        if (this.#auto) this.#transport = "websocket";
        this.wake();
      },
    );
    this.snapshot = { state: "connecting", transport: this.#transport };
    this.#open();
  }

  subscribe = (listener: () => void): (() => void) => this.#listeners.add(listener);

  #open(): void {
    this.#retry?.();
    this.#retryInMs = undefined;
    this.#enter("connecting");
    if (this.#transport === "websocket") {
      this.#wire = new SocketWire(this);
      return;
    }
    // Most pages never need it.
    import("./sse.js").then(
      ({ SseWire }) => {
        if (!this.#error) this.#wire = new SseWire(this);
      },
      () => this.lost({ error: networkError("the fallback did not load") }),
    );
  }

  #down(): void {
    this.#downSince = this.clock.now();
    this.clock.after(OFFLINE_AFTER_MS, () => this.#flusher.mark(this));
  }

  #enter(phase: "connecting" | "open" | "waiting"): void {
    this.#phase = phase;
    this.#flusher.mark(this);
  }

  opened(): void {
    this.#enter("open");
    for (const submit of this.#submits) this.#wire?.submit(submit);
    for (const cursor of this.#cursors) this.#wire?.follow(cursor);
    this.http.json<{ version?: string }>("GET", "readyz").then(
      ({ version }) => {
        this.#version = version;
        this.#flusher.mark(this);
      },
      () => {},
    );
  }

  heard(roundTripMs: number): void {
    // Only an answer proves that it works: a server that accepts and drops must not be asked in a tight loop.
    this.#failures = this.#upgradesRefused = 0;
    this.#roundTripMs = roundTripMs;
    this.#flusher.mark(this);
  }

  lost({ error, code = 0, reason, refused }: Loss): void {
    if (this.#error) return;
    this.#wire = undefined;
    this.#roundTripMs = undefined;
    if (this.#phase === "open") this.#down();
    if (terminal(code)) {
      error = new TidewireError({
        code: CLOSE_CODES[code] ?? `closed_${code}`,
        message: reason || `closed with ${code}`,
      });
      // A function may have another key by now. Where it has none, the ticket is refused.
      if (code !== 4502 || typeof this.http.key !== "function") return this.close(error);
    }
    if (REFUSALS.includes(error?.status ?? 0)) return this.close(error);
    this.#wait(error?.retryAfterMs ?? 0, refused);
  }

  #wait(atLeast: number, refused = false): void {
    const delay = Math.max(atLeast, backoff(this.clock, this.#failures));
    this.#failures += 1;
    this.#retryInMs = delay;
    this.#enter("waiting");
    this.#retry = this.clock.after(delay, () => (refused ? this.#probe() : this.#open()));
  }

  /** A browser does not say why a WebSocket was refused; plain HTTP does. */
  #probe(): void {
    this.#enter("connecting");
    this.#retryInMs = undefined;
    const stale = () => this.#error || this.#wire || this.#phase !== "connecting";
    this.http.send("GET", "v1/session", { withinMs: ANSWER_MS }).then(
      () => {
        if (stale()) return;
        this.#upgradesRefused += 1;
        if (this.#auto && (this.#upgradesRefused >= UPGRADES_REFUSED || !this.WebSocket)) this.#transport = "sse";
        this.#open();
      },
      (error: TidewireError) => {
        if (stale()) return;
        this.lost({ error, refused: true });
      },
    );
  }

  /** There is reason to think that it works now. */
  wake(): void {
    if (this.#phase === "waiting" && !this.#error) this.#open();
  }

  close(error: TidewireError = closedError()): void {
    if (this.#error) return;
    this.#error = error;
    this.#retry?.();
    this.#closing.abort();
    this.#wire?.close();
    this.#wire = undefined;
    for (const submit of this.#submits) submit.refused(error);
    for (const cursor of this.#cursors) cursor.fail(error, false);
    this.#submits.clear();
    this.#cursors.clear();
    this.#flusher.mark(this);
  }

  follow(cursor: Cursor): void {
    if (this.#error) return cursor.fail(this.#error, false);
    if (this.#cursors.has(cursor)) return;
    this.#cursors.add(cursor);
    if (this.#phase === "open") this.#wire?.follow(cursor);
  }

  /** It is followed from its ack on. */
  adopt(cursor: Cursor): void {
    this.#cursors.add(cursor);
  }

  unfollow(cursor: Cursor): void {
    if (this.#cursors.delete(cursor) && this.#phase === "open") this.#wire?.unfollow(cursor);
  }

  submit(submit: Submit): void {
    if (this.#error) return submit.refused(this.#error);
    if (this.#submits.size >= MAX_SUBMITS) {
      const message = `${MAX_SUBMITS} tasks wait for their ack already`;
      return submit.refused(new TidewireError({ code: "too_many_pending", message }));
    }
    this.#submits.add(submit);
    if (this.#phase === "open") this.#wire?.submit(submit);
  }

  /** Nobody waits for it any more. The server may have it. */
  forget(submit: Submit): void {
    this.#submits.delete(submit);
  }

  acked(submit: Submit, ack: Ack, followed: boolean): boolean {
    if (!this.#submits.delete(submit)) return false;
    submit.acked(ack);
    const wanted = this.#cursors.has(submit.cursor);
    if (wanted && !followed) this.#wire?.follow(submit.cursor);
    return wanted;
  }

  refused(submit: Submit, error: TidewireError): void {
    if (error.code === "network") return (this.#wire?.close(), this.lost({ error }));
    if (!this.#submits.has(submit)) return;
    if (error.transient) {
      return this.#later(submit, error, () => this.#submits.has(submit) && this.#wire?.submit(submit));
    }
    this.#submits.delete(submit);
    submit.refused(error);
  }

  took(cursor: Cursor, epoch: number, events: WireEvent[]): boolean {
    cursor.tries = 0;
    const whole = cursor.take(epoch, events);
    if (cursor.settled) this.#cursors.delete(cursor);
    return whole;
  }

  unfollowable(cursor: Cursor, error: TidewireError): void {
    if (!this.#cursors.has(cursor)) return;
    const again = () => void (this.#cursors.has(cursor) && this.#wire?.follow(cursor));
    if (startsOver(error)) {
      cursor.restart();
      // Once at once: it is the plain case. What goes on failing waits.
      return cursor.tries++ ? this.#later(cursor, error, again) : again();
    }
    if (error.transient || error.retryAfterMs !== undefined) {
      return this.#later(cursor, error, again);
    }
    this.#cursors.delete(cursor);
    cursor.fail(error, true);
  }

  /** Once more on this wire; where it is lost meanwhile, the next one begins with all that there is. */
  #later(what: { tries: number }, error: TidewireError, again: () => void): void {
    const wire = this.#wire;
    const delay = Math.max(error.retryAfterMs ?? 0, backoff(this.clock, what.tries++));
    this.clock.after(delay, () => void (this.#wire === wire && again()));
  }

  renew(): void {
    const offline = globalThis.navigator?.onLine === false || this.clock.now() - this.#downSince >= OFFLINE_AFTER_MS;
    const state = this.#error ? "closed" : this.#phase !== "open" && offline ? "offline" : this.#phase;
    const known = {
      roundTripMs: this.#roundTripMs,
      version: this.#version,
      retryInMs: this.#retryInMs,
      error: this.#error,
    };
    this.snapshot = { state, transport: this.#transport, ...defined(known) };
  }

  tell(): void {
    this.#listeners.tell();
  }
}

/** Calls back when the page is shown or hidden or loses its network, and when there is a network again. */
function watchBrowser(signal: AbortSignal, changed: (visible: boolean) => void, online: () => void): void {
  if (typeof document === "undefined") return;
  const heed = { signal };
  document.addEventListener("visibilitychange", () => changed(!document.hidden), heed);
  addEventListener("offline", () => changed(false), heed);
  addEventListener("online", online, heed);
}
