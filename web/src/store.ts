// A value that several parts of the page show: whoever uses it hears of each change.
import { useSyncExternalStore } from "react";

export class Shared<T> {
  private readonly listeners = new Set<() => void>();

  constructor(public now: T) {}

  set(next: T): void {
    this.now = next;
    for (const changed of this.listeners) changed();
  }

  readonly subscribe = (changed: () => void): (() => void) => {
    this.listeners.add(changed);
    return () => this.listeners.delete(changed);
  };

  use(): T {
    return useSyncExternalStore(this.subscribe, () => this.now);
  }
}
