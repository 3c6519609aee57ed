// Events of a log as the page shows them: runs of tokens folded into one.
export interface Logged {
  offset: number;
  count: number;
  type: string;
  at: number;
  data: unknown;
}
export type Wire = Omit<Logged, "count"> & { count?: number };
/** What a page holds of a log: the newest. Older events of a larger log are let go of. */
export const MAX_EVENTS = 20_000;
const FOLDS = new Set(["text", "reasoning"]);

/** Adds events; runs of words become one, as the server merges those that are ready together. */
export function folded(before: readonly Logged[], events: readonly Wire[]): Logged[] {
  const all = before.slice();
  for (const event of events) {
    const last = all.at(-1);
    const count = event.count ?? 1;
    if (last && last.type === event.type && FOLDS.has(event.type) && last.offset + last.count === event.offset)
      all[all.length - 1] = {
        ...last,
        count: last.count + count,
        data: `${last.data as string}${event.data as string}`,
      };
    else all.push({ ...event, count });
  }
  return all.length > MAX_EVENTS ? all.slice(-MAX_EVENTS) : all;
}
