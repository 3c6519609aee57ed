// Where a budget ends if the period goes on as it began. Periods are the server's: days and months in UTC.
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export type Period = "day" | "month";
export interface Projection {
  /** What will have been spent at the period's end; absent while too little of it has gone by. */
  end_usd?: number;
  /** When the limit is reached, if before the end. */
  reached_at?: number;
  state: "early" | "within" | "near" | "over" | "spent";
}

// Before so much of a period has gone by, one large request would foretell a ruin.
const TOO_EARLY = { day: HOUR_MS, month: DAY_MS };
const NEAR = 0.9;

export function bounds(period: Period, now: number): { from: number; to: number } {
  const date = new Date(now);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  if (period === "month") return { from: Date.UTC(year, month, 1), to: Date.UTC(year, month + 1, 1) };
  const from = Date.UTC(year, month, date.getUTCDate());
  return { from, to: from + DAY_MS };
}

export function project(spent: number, limit: number | undefined, period: Period, now: number): Projection {
  const { from, to } = bounds(period, now);
  const over = limit !== undefined && spent >= limit;
  const gone = now - from;
  if (gone < TOO_EARLY[period]) return { state: over ? "spent" : "early" };
  const end_usd = (spent * (to - from)) / gone;
  if (over) return { end_usd, state: "spent" };
  if (limit === undefined) return { end_usd, state: "within" };
  if (end_usd > limit) return { end_usd, reached_at: from + (gone * limit) / spent, state: "over" };
  return { end_usd, state: end_usd > limit * NEAR ? "near" : "within" };
}
