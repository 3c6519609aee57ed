// A key as the server shows it, and what can be said of one.
export interface Limits {
  requests_per_minute?: number;
  input_tokens_per_minute?: number;
  output_tokens_per_minute?: number;
  usd_per_day?: number;
  usd_per_month?: number;
}
export interface Key {
  id: string;
  name: string;
  tenant: string;
  scopes: string[];
  role?: string;
  routes?: string[];
  user?: string;
  created_at: number;
  expires_at?: number;
  revoked_at?: number;
  limits: Limits;
}

export const LIMITS: { field: keyof Limits; name: string; short: string; money?: boolean }[] = [
  { field: "requests_per_minute", name: "Requests a minute", short: "requests/min" },
  { field: "input_tokens_per_minute", name: "Tokens read a minute", short: "tokens in/min" },
  { field: "output_tokens_per_minute", name: "Tokens written a minute", short: "tokens out/min" },
  { field: "usd_per_day", name: "Dollars a day", short: "a day", money: true },
  { field: "usd_per_month", name: "Dollars a month", short: "a month", money: true },
];

/** Limits from what was typed: an empty field is no limit; `undefined` where something is no number. */
export function limits(typed: Record<string, string>): Limits | undefined {
  const found: Limits = {};
  for (const { field, money } of LIMITS) {
    const text = (typed[field] ?? "").trim();
    if (!text) continue;
    const value = Number(text);
    if (!Number.isFinite(value) || value < 0 || (!money && !Number.isInteger(value))) return undefined;
    found[field] = value;
  }
  return found;
}
