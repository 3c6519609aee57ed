// Chance that repeats: a test prints its seed, and TIDEWIRE_TEST_SEED sets it.

export const seed = Number(process.env["TIDEWIRE_TEST_SEED"] ?? 20_261_123);

/** mulberry32. */
export function random(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A whole number from `low` to below `high`. */
export const between = (chance: () => number, low: number, high: number): number =>
  low + Math.floor(chance() * (high - low));
