// Figures as operators read them: few digits, a unit, and a dash where there is no sample.
export const NONE = "–";

/** A wait: three digits at most. */
export function wait(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return NONE;
  if (ms === 0) return "0 ms";
  if (ms < 9.95) return `${Number(ms.toPrecision(2))} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_995) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  return span(ms);
}

/** A long time, in its two largest units: "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function span(ms: number | undefined): string {
  if (ms === undefined) return NONE;
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units: [string, number][] = [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ];
  const at = units.findIndex(([, size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [[name, size], small] = [units[at]!, units[at + 1]];
  const rest = small ? Math.floor((seconds % size) / small[1]) : 0;
  return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${small![0]}` : ""}`;
}

/** A count or a rate: whole above ten, one digit after the point below. */
export function amount(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value === 0) return "0";
  if (Math.abs(value) >= 999_950) return `${Number((value / 1e6).toPrecision(3))} M`;
  if (Math.abs(value) >= 9.95 || Number.isInteger(value)) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(2)));
}

export function bytes(value: number | undefined): string {
  if (value === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let at = 0;
  while (size >= 1024 && at < units.length - 1) {
    size /= 1024;
    at += 1;
  }
  return `${at === 0 || size >= 100 ? Math.round(size) : Number(size.toPrecision(3))} ${units[at]}`;
}

/** Money as an account has it: cents, and what is less than a cent in two digits. */
export function usd(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value === 0) return "$0";
  if (Math.abs(value) >= 0.01)
    return `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  return `$${Number(value.toPrecision(2)).toFixed(12).replace(/0+$/, "").replace(/\.$/, "")}`;
}

export const percent = (part: number): string =>
  part > 0 && part < 0.01 ? "under 1 %" : part > 0.99 && part < 1 ? "over 99 %" : `${Math.round(part * 100)} %`;

/** "14:05", as clocks on this machine have it. */
export const clock = (at: number, seconds = false): string =>
  new Date(at).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    ...(seconds ? { second: "2-digit" } : {}),
  });

/** "23 Nov". */
export const dayOf = (at: number): string =>
  new Date(at).toLocaleDateString("en-GB", { day: "numeric", month: "short" });

/** "23 Nov, 14:05:33". */
export const moment = (at: number): string => `${dayOf(at)}, ${clock(at, true)}`;

/** How old the last word of the server is. */
export const old = (ms: number): string =>
  ms < 60_000 ? `${Math.floor(ms / 1000)} s ago` : `${span(ms).split(" ").slice(0, 2).join(" ")} ago`;

/** The last figure of a series that is one. */
export const newest = (values: readonly (number | null)[] | undefined): number | undefined =>
  values?.findLast((value) => value !== null) ?? undefined;
