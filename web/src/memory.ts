// What this browser keeps. Full or forbidden storage costs what it keeps, never the page.
export const memory = {
  read<T>(name: string, otherwise: T): T {
    try {
      const kept = localStorage.getItem(`tidewire.${name}`);
      return kept === null ? otherwise : (JSON.parse(kept) as T);
    } catch {
      return otherwise;
    }
  },
  write(name: string, value: unknown) {
    try {
      localStorage.setItem(`tidewire.${name}`, JSON.stringify(value));
    } catch {
      // See above.
    }
  },
};

/** Not crypto.randomUUID: pages that came over plain HTTP from another machine do not have it. */
export const random = () =>
  [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
