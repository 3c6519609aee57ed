// How the stream of /v1/operations becomes what is shown: a snapshot, sections that changed, points of the hour.
import type { History, Point, Snapshot } from "./model";

/** An hour of points, ten seconds apart: what the server keeps. */
export const MAX_POINTS = 360;

const EMPTY: Omit<Snapshot, "server"> = {
  latencies: {},
  queue: { waiting: 0, running: 0, by_priority: [], by_tenant: [] },
  workers: [],
  leases: [],
  routes: [],
  deployments: [],
  tenants: [],
  cache: {},
  refusals: {},
  history: { step_ms: 10_000, end: 0, series: {} },
};

/** What there is after one event. Before the first snapshot, and for an event that it does not know: what there was. */
export function fold(before: Snapshot | undefined, event: string, data: unknown): Snapshot | undefined {
  if (event === "snapshot") {
    const told = { ...EMPTY, ...(data as Snapshot) };
    return { ...told, history: even(told.history) };
  }
  if (!before) return before;
  if (event === "update") {
    // A section comes whole; the hour comes as points, and would lose its gaps otherwise.
    const { history: _, ...changed } = data as Partial<Snapshot>;
    return { ...before, ...changed };
  }
  if (event === "point") return { ...before, history: append(before.history, data as Point) };
  return before;
}

const pad = (count: number): null[] => new Array<null>(Math.max(0, count)).fill(null);

/** All series of one length: a young one has nothing at its beginning. */
function even(history: History): History {
  const length = Math.min(MAX_POINTS, Math.max(0, ...Object.values(history.series).map((values) => values.length)));
  const series = Object.fromEntries(
    Object.entries(history.series).map(([name, values]) => [
      name,
      [...pad(length - values.length), ...values.slice(-length || values.length)],
    ]),
  );
  return { ...history, series };
}

/** The window shifts by the time that went by: what was missed stays a gap, and is not drawn over. */
function append(history: History, { at, values }: Point): History {
  const { end, step_ms, series } = history;
  if (end && at <= end) return history;
  const missed = end ? Math.min(MAX_POINTS, Math.max(0, Math.round((at - end) / step_ms) - 1)) : 0;
  const length = Math.max(0, ...Object.values(series).map((some) => some.length));
  const names = new Set([...Object.keys(series), ...Object.keys(values)]);
  const next: History["series"] = {};
  for (const name of names)
    next[name] = [...(series[name] ?? pad(length)), ...pad(missed), values[name] ?? null].slice(-MAX_POINTS);
  return { step_ms, end: at, series: next };
}
