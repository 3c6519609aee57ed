// The one hidden line that a screen reader hears: what began and what ended, never each word.
import { useSyncExternalStore } from "react";

let line = "";
const listeners = new Set<() => void>();

export function say(text: string) {
  line = text;
  for (const changed of listeners) changed();
}

export function useSaid(): string {
  return useSyncExternalStore(
    (changed) => {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    () => line,
  );
}
