// A page for React, with node's own network: fetch, sockets and streams are what the clients are tested on.
import { Window } from "happy-dom";

export function givePage() {
  const window = new Window({ url: "http://localhost/" });
  for (const name of ["window", "document", "navigator", "HTMLElement", "Node", "Element", "MutationObserver"]) {
    Object.defineProperty(globalThis, name, { value: name === "window" ? window : window[name], configurable: true, writable: true });
  }
}
