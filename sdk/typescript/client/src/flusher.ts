// Tells listeners: all stores that changed, together, once a frame.
import type { Clock } from "./clock.js";

export interface Flushable {
  /** Makes the snapshot that listeners will read. */
  renew(): void;
  /** Calls the listeners. */
  tell(): void;
}

export class Flusher {
  readonly #clock: Clock;
  readonly #changed = new Set<Flushable>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  mark(store: Flushable): void {
    if (!this.#changed.size) this.#clock.frame(() => this.flush());
    this.#changed.add(store);
  }

  flush(): void {
    const stores = [...this.#changed];
    this.#changed.clear();
    // All snapshots before the first listener: one that reads two stores sees both as of one moment.
    for (const store of stores) store.renew();
    for (const store of stores) store.tell();
  }
}

/** Those who want to hear. One that throws does not keep the others from hearing. */
export class Listeners {
  readonly #all = new Set<() => void>();

  add(listener: () => void): () => void {
    // Wrapped, so that a function that is added twice is two listeners.
    const own = () => listener();
    this.#all.add(own);
    return () => void this.#all.delete(own);
  }

  get size(): number {
    return this.#all.size;
  }

  tell(): void {
    for (const listener of [...this.#all]) {
      try {
        listener();
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
