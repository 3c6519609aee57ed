// Which requests are looked at, as the address keeps it: a filter can be shared, and other pages lead to one.
import { at } from "../router";

export const FIELDS = ["state", "model", "tenant", "user", "code", "q", "within", "since", "until"] as const;
export type Filter = Partial<Record<(typeof FIELDS)[number], string>>;

/** How long ago "within" is, in ms. */
export const WITHIN: Record<string, { name: string; ms: number }> = {
  "15m": { name: "15 minutes", ms: 900_000 },
  "1h": { name: "hour", ms: 3_600_000 },
  "24h": { name: "24 hours", ms: 86_400_000 },
  "7d": { name: "7 days", ms: 604_800_000 },
};

// An address needs something in this place, so that a task may follow it.
const ALL = "all";

export function write(filter: Filter): string {
  const query = new URLSearchParams();
  for (const field of FIELDS) if (filter[field]) query.set(field, filter[field]);
  return query.toString() || ALL;
}

export function read(text: string | undefined): Filter {
  const query = new URLSearchParams(text === ALL ? "" : text);
  return Object.fromEntries(FIELDS.flatMap((field) => (query.get(field) ? [[field, query.get(field)!]] : [])));
}

export const filterPath = (filter: Filter, task?: string) =>
  at("operations", "requests", write(filter), ...(task ? [task] : []));

/** What the server is asked for. */
export function asked({ within, ...rest }: Filter, now: number): Record<string, string> {
  const span = within ? WITHIN[within] : undefined;
  return { ...rest, ...(span ? { since: String(now - span.ms) } : {}) };
}

/** The query of a request about one task that is not the caller's own tenant's. */
export const ofTenant = (tenant: string | undefined) => (tenant ? `?tenant=${encodeURIComponent(tenant)}` : "");
