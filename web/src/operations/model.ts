// What `GET /v1/operations` says, as PROTOCOL.md has it. A figure that has no sample yet is absent, never 0.
export interface Percentiles {
  count: number;
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
}
export type Wait = "ttft" | "tpot" | "ttar" | "ack" | "delivery_lag" | "total";

export interface Deployment {
  name: string;
  weight: number;
  breaker: "closed" | "open" | "half_open";
  available: boolean;
  down?: boolean;
  retry_after_ms?: number;
  requests: number;
  tokens: number;
  headroom: number;
  ttft_ms?: number;
  tpot_ms?: number;
  outcomes: Record<string, number>;
}
export interface Route {
  name: string;
  strategy: string;
  tries: number;
  wait_ms: number;
  prefer?: string[];
  fallbacks?: string[];
  deployments: Deployment[];
}
export interface Minute {
  at: number;
  ok: number;
  failed: number;
  breaker: string;
}
export interface Tenant {
  name: string;
  today_usd: number;
  month_usd: number;
  reserved_usd: number;
  day_limit_usd?: number;
  month_limit_usd?: number;
  tasks_today: number;
  suspended: boolean;
}
export interface Lease {
  task: string;
  tenant: string;
  model: string;
  deployment?: string;
  attempt: number;
  since: number;
  worker: string;
}
export interface History {
  step_ms: number;
  /** The moment of the newest point. */
  end: number;
  /** Oldest first, all of one length; `null` where nothing was measured. */
  series: Record<string, (number | null)[]>;
}

export interface Server {
  version: string;
  at: number;
  started_at: number;
  engine: string;
  durability: string;
  takes_changes: boolean;
  connections: number;
  data_free_bytes?: number;
  transient_bytes?: number;
  transient_bound_bytes?: number;
  commits_per_second?: number;
  fsync_p99_ms?: number;
  ledger_imbalance_usd?: number;
  tokens_per_second?: number;
}
export interface Queue {
  waiting: number;
  running: number;
  oldest_ms?: number;
  by_priority: { priority: string | number; waiting: number; oldest_ms?: number }[];
  by_tenant: { tenant: string; waiting: number; running: number; oldest_ms?: number }[];
  by_route?: { route: string; waiting: number }[];
}
export interface Cache {
  hits: number;
  stale: number;
  joined: number;
  misses: number;
  semantic_hits: number;
  entries: number;
  bytes: number;
  saved_today_usd: number;
}

/** Every section is there once the snapshot has come; one that the server leaves out is empty. */
export interface Snapshot {
  server: Server;
  latencies: Partial<Record<Wait, Percentiles>>;
  queue: Queue;
  workers: { name: string; running: number; slots: number; draining: boolean }[];
  leases: Lease[];
  routes: Route[];
  deployments: { name: string; strip: Minute[] }[];
  tenants: Tenant[];
  cache: Partial<Cache>;
  refusals: Record<string, number>;
  history: History;
}

export interface Point {
  at: number;
  values: Record<string, number | null>;
}
