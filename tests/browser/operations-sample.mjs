// A server's figures as /v1/operations tells them: made up, the same for the same seed, with something of everything.
import { random } from "./app-harness.mjs";

const STEP_MS = 10_000;
const POINTS = 360;
const MINUTE_MS = 60_000;

/** The snapshot of a busy server at `at`. */
export function sample(at, seed = 7) {
  const next = random(seed);
  const wave = (middle, swing) => Array.from({ length: POINTS }, (_, n) => Number((middle * (1 + swing * Math.sin(n / 28) + (next(1000) - 500) / 2500)).toFixed(3)));
  const peak = (values, from, to, times) => values.map((value, n) => (n >= from && n < to ? Number((value * times).toFixed(3)) : value));
  const gap = (values, from, to) => values.map((value, n) => (n >= from && n < to ? null : value));
  const minute = (ago) => Math.floor(at / MINUTE_MS) * MINUTE_MS - ago * MINUTE_MS;
  const strip = (fails) => Array.from({ length: 60 }, (_, n) => ({ at: minute(59 - n), ok: 40 + next(30), failed: 0, breaker: "closed", ...fails[n] })).filter(({ ok }) => ok >= 0);
  const bad = Object.fromEntries(Array.from({ length: 9 }, (_, n) => [33 + n, n < 3 ? { failed: 12 + 9 * n } : n < 7 ? { ok: 0, failed: 3, breaker: "open" } : { ok: 6, failed: 1, breaker: "half_open" }]));
  const quiet = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [n, { ok: -1 }]));
  return {
    server: { version: "0.6.0", at, started_at: at - 3 * 86_400_000 - 15_000_000, engine: "embedded", durability: "durable", takes_changes: true, connections: 212, data_free_bytes: 88_400_000_000, transient_bytes: 3_400_000, transient_bound_bytes: 268_435_456, commits_per_second: 41.5, fsync_p99_ms: 1.9, ledger_imbalance_usd: 0, tokens_per_second: 1310 },
    latencies: {
      ack: { count: 812, p50_ms: 0.82, p95_ms: 2.1, p99_ms: 7.5 },
      ttft: { count: 806, p50_ms: 214, p95_ms: 640, p99_ms: 1380 },
      tpot: { count: 799, p50_ms: 11.4, p95_ms: 19, p99_ms: 34 },
      ttar: { count: 310, p50_ms: 262, p95_ms: 720, p99_ms: 1510 },
      delivery_lag: { count: 20_411, p50_ms: 0.31, p95_ms: 1.2, p99_ms: 4.8 },
      total: { count: 790, p50_ms: 2400, p95_ms: 9100, p99_ms: 21_000 },
    },
    queue: {
      waiting: 46, running: 22, oldest_ms: 5200,
      by_priority: [{ priority: "interactive", waiting: 3, oldest_ms: 400 }, { priority: "normal", waiting: 12, oldest_ms: 1900 }, { priority: "bulk", waiting: 31, oldest_ms: 5200 }],
      by_tenant: [{ tenant: "acme", waiting: 31, running: 9, oldest_ms: 5200 }, { tenant: "globex", waiting: 9, running: 6, oldest_ms: 1900 }, { tenant: "initech", waiting: 4, running: 4, oldest_ms: 700 }, { tenant: "default", waiting: 2, running: 3, oldest_ms: 300 }],
      by_route: [{ route: "chat", waiting: 40 }, { route: "summary", waiting: 6 }],
    },
    workers: [{ name: "worker-1", running: 16, slots: 24, draining: false }, { name: "worker-2", running: 6, slots: 24, draining: true }, { name: "gpu-a", running: 0, slots: 8, draining: false }],
    leases: Array.from({ length: 22 }, (_, n) => ({ task: `task_01m83rgyvgfhhj3xqyfajk8${String(n).padStart(2, "0")}`, tenant: ["acme", "globex", "initech"][n % 3], model: n % 4 ? "chat" : "summary", deployment: n % 5 ? "openai-east" : "azure-eu", attempt: n === 2 ? 2 : 1, since: at - 61_000 + n * 2_700, worker: n < 16 ? "worker-1" : "worker-2" })),
    routes: [
      { name: "chat", strategy: "least_busy", tries: 3, wait_ms: 60_000, fallbacks: ["summary"], deployments: [
        { name: "openai-east", weight: 2, breaker: "closed", available: true, requests: 14, tokens: 18_200, headroom: 0.62, ttft_ms: 190, tpot_ms: 10.8, outcomes: { ok: 48_211, cut: 310, upstream_rate_limited: 12 } },
        { name: "azure-eu", weight: 1, breaker: "half_open", available: true, requests: 1, tokens: 900, headroom: 0.94, ttft_ms: 410, tpot_ms: 13.1, outcomes: { ok: 21_030, upstream_timeout: 84, upstream_overloaded: 31 } },
        { name: "local-gpu", weight: 1, breaker: "open", available: false, retry_after_ms: 12_400, requests: 0, tokens: 0, headroom: 0.08, outcomes: { ok: 802, upstream_unreachable: 57 } },
      ] },
      { name: "summary", strategy: "cheapest", tries: 1, wait_ms: 30_000, deployments: [{ name: "small", weight: 1, breaker: "closed", available: true, requests: 0, tokens: 0, headroom: 1, outcomes: {} }] },
    ],
    deployments: [{ name: "openai-east", strip: strip({ 12: { failed: 2 }, 51: { failed: 1 } }) }, { name: "azure-eu", strip: strip(bad) }, { name: "local-gpu", strip: strip({ ...quiet, 58: { ok: 0, failed: 30, breaker: "open" }, 59: { ok: 0, failed: 27, breaker: "open" } }) }],
    tenants: [
      { name: "acme", today_usd: 41.2, month_usd: 812.5, reserved_usd: 3.1, day_limit_usd: 60, month_limit_usd: 1500, tasks_today: 8120, suspended: false },
      { name: "globex", today_usd: 9.8, month_usd: 240.1, reserved_usd: 0.4, day_limit_usd: 10, month_limit_usd: 400, tasks_today: 1204, suspended: false },
      { name: "initech", today_usd: 5, month_usd: 61, reserved_usd: 0, day_limit_usd: 5, tasks_today: 901, suspended: false },
      { name: "hooli", today_usd: 0, month_usd: 12.4, reserved_usd: 0, month_limit_usd: 50, tasks_today: 0, suspended: true },
      { name: "default", today_usd: 0.0042, month_usd: 0.31, reserved_usd: 0.0001, tasks_today: 44, suspended: false },
    ],
    cache: { hits: 1840, stale: 12, joined: 96, misses: 5210, semantic_hits: 41, entries: 2210, bytes: 18_400_000, saved_today_usd: 6.12 },
    refusals: { queue_full: 0, rate_limited: 31, budget_exceeded: 210, retries: 127, disk_failures: 0 },
    history: {
      step_ms: STEP_MS, end: at, series: {
        ack_p50: wave(0.8, 0.1), ack_p99: wave(6, 0.3),
        ttft_p50: peak(gap(wave(205, 0.12), 90, 104), 200, 225, 2.4), ttft_p99: peak(gap(wave(1150, 0.2), 90, 104), 200, 225, 3),
        tpot_p50: wave(11, 0.08), tpot_p99: wave(31, 0.15), ttar_p50: wave(250, 0.12), ttar_p99: wave(1400, 0.2),
        delivery_lag_p50: wave(0.3, 0.05), delivery_lag_p99: wave(4.2, 0.3),
        waiting: peak(wave(30, 0.5), 200, 230, 4).map(Math.round), running: wave(21, 0.1).map(Math.round), connections: wave(200, 0.1).map(Math.round),
        tokens_per_second: gap(wave(1290, 0.2), 90, 104), tasks_per_second: gap(wave(13, 0.2), 90, 104), failed_per_second: peak(wave(0.1, 0.4), 200, 225, 9), cost_usd_per_hour: wave(4.1, 0.2),
      },
    },
  };
}

/** Thirty days of usage of the same tenants, as GET /v1/usage tells them. */
export function usage(at, seed = 11) {
  const next = random(seed);
  const day = (ago) => new Date(at - ago * 86_400_000).toISOString().slice(0, 10);
  const rows = [];
  for (let ago = 29; ago >= 0; ago -= 1)
    for (const [tenant, middle] of [["acme", 44], ["globex", 12], ["hooli", 2], ["initech", 6]])
      rows.push({ day: day(ago), tenant, tasks: middle * 180 + next(900), input_tokens: middle * 90_000, cached_tokens: 0, cache_write_tokens: 0, output_tokens: middle * 41_000, reasoning_tokens: 0, cost_usd: Number((middle * (0.6 + next(100) / 120)).toFixed(2)), saved_usd: Number((middle / 9).toFixed(2)), estimated: false });
  const sum = (name) => Number(rows.reduce((all, row) => all + row[name], 0).toFixed(2));
  return { from: day(29), to: day(0), group_by: ["day", "tenant"], rows, total: { tasks: sum("tasks"), input_tokens: sum("input_tokens"), cached_tokens: 0, cache_write_tokens: 0, output_tokens: sum("output_tokens"), reasoning_tokens: 0, cost_usd: sum("cost_usd"), saved_usd: sum("saved_usd"), estimated: false } };
}
