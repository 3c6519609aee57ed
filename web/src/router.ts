// Where the person is, in the address after `#`: it needs nothing of the server, below any path.
import { useSyncExternalStore } from "react";

const subscribe = (changed: () => void) => {
  addEventListener("hashchange", changed);
  return () => removeEventListener("hashchange", changed);
};
const path = () => location.hash.replace(/^#\/?/, "");

/** The parts of the place: `#/chat/lane-1` is `["chat", "lane-1"]`. */
export function usePlace(): string[] {
  return useSyncExternalStore(subscribe, path).split("/").map(decoded);
}

export const at = (...parts: string[]) => `#/${parts.map(encodeURIComponent).join("/")}`;

export function go(...parts: string[]) {
  location.hash = at(...parts).slice(1);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
