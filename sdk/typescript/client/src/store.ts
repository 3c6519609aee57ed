// A log as something to subscribe to: it is followed while somebody holds it, and resumed where it was left.
import type { Batch } from "./batch.js";
import { backoff, type Cancel, type Clock } from "./clock.js";
import type { Connection } from "./connection.js";
import { startsOver, TidewireError } from "./error.js";
import { Listeners, type Flushable, type Flusher } from "./flusher.js";
import { query } from "./http.js";
import type { LogEvent, Measure, Place } from "./types.js";
import type { Task } from "./task.js";
import type { Cursor, WireEvent } from "./wire.js";

/** A view that is left and opened again at once should not cost two frames and a re-read. */
const LINGER_MS = 2_000;
/** The newest events, for iterators. One that is further behind reads on from the server: some 10 s of a fast answer. */
const MAX_RECENT = 1_024;

/** What the parts of one client share. */
export interface Core {
  readonly clock: Clock;
  readonly connection: Connection;
  readonly flusher: Flusher;
  /** It is held, or no more. */
  held(store: Store<unknown>, held: boolean): void;
  measured(measure: Measure): void;
  /** The one store of a task. */
  follow(id: string): Task;
  followBatch(id: string, tasks: string[]): Batch;
  /** A task has its id now. Another store, where it has one already. */
  named(task: Task): Task;
}

interface Page {
  epoch: number;
  events: WireEvent[];
}

export abstract class Store<S> implements Cursor, Flushable {
  readonly core: Core;
  id: string;
  epoch: number | undefined;
  next = 0;
  tries = 0;
  settled = false;
  #snapshot: S | undefined;
  #failed: TidewireError | undefined;
  readonly #listeners = new Listeners();
  /** Those who wait for a change. */
  readonly #waiting = new Set<() => void>();
  #iterators = 0;
  #recent: LogEvent[] = [];
  #holds = 0;
  #linger: Cancel | undefined;

  constructor(core: Core, id: string) {
    this.core = core;
    this.id = id;
  }

  abstract readonly path: string;
  /** One event, the next one. */
  protected abstract fold(event: LogEvent): void;
  /** As before the first event. */
  protected abstract clear(): void;
  protected abstract build(): S;

  /** As of the last frame: the same object until something changes. */
  get snapshot(): S {
    return (this.#snapshot ??= this.build());
  }

  /** Calls it once a frame in which the snapshot changed. Bound, so that it can be handed on by itself. */
  readonly subscribe = (listener: () => void): (() => void) => {
    const remove = this.#listeners.add(listener);
    const release = this.hold();
    return () => {
      remove();
      release();
    };
  };

  protected get watched(): boolean {
    return this.#listeners.size > 0;
  }

  protected get failed(): TidewireError | undefined {
    return this.#failed;
  }

  /** Follows the log until it is released. */
  hold(signal?: AbortSignal): () => void {
    this.#linger?.();
    if (this.#holds++ === 0) {
      this.core.held(this, true);
      if (this.id && !this.settled) this.core.connection.follow(this);
    }
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      signal?.removeEventListener("abort", release);
      if (--this.#holds === 0) this.#linger = this.core.clock.after(LINGER_MS, () => this.#leave());
    };
    if (signal?.aborted) release();
    else signal?.addEventListener("abort", release);
    return release;
  }

  #leave(): void {
    this.core.connection.unfollow(this);
    this.core.held(this, false);
  }

  protected changed(): void {
    this.core.flusher.mark(this);
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  renew(): void {
    this.#snapshot = this.build();
  }

  tell(): void {
    this.#listeners.tell();
  }

  take(epoch: number, events: WireEvent[]): boolean {
    if (this.epoch !== epoch && this.next > 0) this.restart();
    this.epoch = epoch;
    for (const event of events) {
      const news = told(epoch, event);
      const end = news.offset + news.count;
      if (end <= this.next) continue;
      // A trimmed log begins above 0, with what the trimmed events amounted to.
      if (news.offset !== this.next && news.kind !== "snapshot") return false;
      this.next = end;
      this.fold(news);
      // It can't be understood without what came before.
      if (this.next !== end) return false;
      if (this.#iterators && this.#recent.push(news) > MAX_RECENT) this.#recent.shift();
    }
    if (events.length) this.changed();
    return true;
  }

  restart(): void {
    this.next = 0;
    this.epoch = undefined;
    this.clear();
    this.changed();
  }

  waiting(_place?: number, _waitMs?: number): void {}

  fail(error: TidewireError, ofLog: boolean): void {
    this.#failed = error;
    this.settled ||= ofLog;
    this.changed();
  }

  /** Waits until `look` has something, which it is asked after each change. */
  protected async until<T>(look: () => T | undefined, signal?: AbortSignal): Promise<T> {
    const release = this.hold();
    try {
      for (;;) {
        signal?.throwIfAborted();
        const found = look();
        if (found !== undefined) return found;
        if (this.#failed) throw this.#failed;
        await this.#news(signal);
      }
    } finally {
      release();
    }
  }

  /** The next change, or the caller's end of waiting. */
  #news(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal?.removeEventListener("abort", wake);
        this.#waiting.delete(wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal?.addEventListener("abort", wake);
    });
  }

  /**
   * The log's events, from its first, or after the one that the caller has. What is not at hand is read from the server; a
   * log that began anew (another epoch) is told from its start. Ends after the last event; throws when aborted.
   */
  async *events({
    from,
    signal,
  }: { from?: Place & { count?: number }; signal?: AbortSignal } = {}): AsyncGenerator<LogEvent> {
    let epoch = from?.epoch;
    let next = from ? from.offset + (from.count ?? 1) : 0;
    const release = this.hold();
    this.#iterators += 1;
    try {
      for (;;) {
        const known = () => {
          const event = this.#recent.findLast(
            (event) => event.offset === next && event.epoch === (epoch ?? event.epoch),
          );
          if (event) return [event];
          const behind = this.next > next || (this.next > 0 && epoch !== undefined && this.epoch !== epoch);
          return behind ? [] : undefined;
        };
        let events: LogEvent[] = await this.until(known, signal);
        if (!events.length) events = await this.#read(next, epoch, signal);
        // Nothing: it began anew.
        if (!events.length) [epoch, next] = [undefined, 0];
        for (const event of events) {
          [epoch, next] = [event.epoch, event.offset + event.count];
          yield event;
          if (event.kind === "end") return;
        }
      }
    } finally {
      if (!--this.#iterators) this.#recent = [];
      release();
    }
  }

  /** A page of events, however often it has to be asked for; none where this place is not in the log any more. */
  async #read(next: number, epoch: number | undefined, signal?: AbortSignal): Promise<LogEvent[]> {
    const { clock, connection } = this.core;
    const path = `${this.path}/events${query({ format: "json", ...(next > 0 && { after: next - 1, epoch }) })}`;
    for (let tries = 0; ; tries++) {
      try {
        const page = await connection.http.json<Page>("GET", path, { signal });
        return page.events.map((event) => told(page.epoch, event));
      } catch (error) {
        if (startsOver(error)) return [];
        if (!(error instanceof TidewireError) || !error.transient) throw error;
        await new Promise<void>((done) => clock.after(backoff(clock, tries), done));
      }
    }
  }
}

const told = (epoch: number, { offset, count = 1, type: kind, data, at }: WireEvent): LogEvent => ({
  epoch,
  offset,
  count,
  kind,
  data,
  at,
});
