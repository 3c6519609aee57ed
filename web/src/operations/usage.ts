// What `GET /v1/usage` tells, and the same as a bar for each day.
export interface UsageRow {
  day: string;
  tenant?: string;
  tasks: number;
  input_tokens: number;
  output_tokens: number;
  cost_usd: number;
  saved_usd: number;
}
export interface UsageReport {
  from: string;
  to: string;
  rows: UsageRow[];
  total: Omit<UsageRow, "day" | "tenant">;
}

/** More names than this nobody tells apart by eye; the table has them all. */
export const MAX_NAMES = 5;
const DAY_MS = 86_400_000;

export interface DayBars {
  /** What the bars count: tasks, where nothing has cost anything. */
  unit: "usd" | "tasks";
  days: string[];
  /** The dearest first; what is left over comes last. */
  parts: { name: string; values: number[] }[];
}

export function byDay({ from, to, rows }: UsageReport): DayBars {
  const days: string[] = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += DAY_MS)
    days.push(new Date(at).toISOString().slice(0, 10));
  const unit = rows.some(({ cost_usd }) => cost_usd > 0) ? "usd" : "tasks";
  const of = (row: UsageRow) => (unit === "usd" ? row.cost_usd : row.tasks);
  const sums = new Map<string, number>();
  for (const row of rows) sums.set(row.tenant ?? "", (sums.get(row.tenant ?? "") ?? 0) + of(row));
  const names = [...sums].sort(([, one], [, other]) => other - one).map(([name]) => name);
  const own = names.slice(0, names.length > MAX_NAMES ? MAX_NAMES - 1 : MAX_NAMES);
  const place = new Map(days.map((day, at) => [day, at]));
  const parts = own.map((name) => ({ name: name || "You", values: days.map(() => 0) }));
  if (names.length > own.length) parts.push({ name: `${names.length - own.length} others`, values: days.map(() => 0) });
  for (const row of rows) {
    const at = place.get(row.day);
    const index = own.indexOf(row.tenant ?? "");
    if (at !== undefined) parts[index < 0 ? parts.length - 1 : index]!.values[at]! += of(row);
  }
  return { unit, days, parts };
}
