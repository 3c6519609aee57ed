import { describe, expect, test } from "vitest";
import { TidewireError } from "@tidewire/client";
import type { Clock } from "@tidewire/client/clock";
import { newest as newestEntries, type Page } from "../src/operations/auditLog";
import { Feed } from "../src/operations/feed";
import { amount, bytes, newest, percent, span, usd, wait } from "../src/operations/figures";
import { fold, MAX_POINTS } from "../src/operations/fold";
import { limits } from "../src/operations/key";
import { folded } from "../src/operations/logged";
import type { Snapshot } from "../src/operations/model";
import { allowed } from "../src/operations/places";
import { project } from "../src/operations/projection";
import { retryAll, type Progress } from "../src/operations/retry";
import { ladder } from "../src/operations/spans";
import { byDay } from "../src/operations/usage";

const STEP = 10_000;
const snapshot = (more: Partial<Snapshot> = {}) =>
  fold(undefined, "snapshot", {
    server: { version: "1", at: 5 * STEP },
    history: { step_ms: STEP, end: 5 * STEP, series: { ack_p50: [1, 2, 3], waiting: [7] } },
    ...more,
  })!;

describe("the figures of the server", () => {
  test("a_snapshot_without_a_section_has_an_empty_one_and_series_of_one_length", () => {
    const { queue, leases, latencies, history } = snapshot();
    expect([queue.waiting, leases, latencies]).toEqual([0, [], {}]);
    expect(history.series).toEqual({ ack_p50: [1, 2, 3], waiting: [null, null, 7] });
  });

  test("an_update_changes_its_sections_and_leaves_the_others_as_they_are", () => {
    const before = snapshot({ leases: [{ task: "t" }] as never });
    const after = fold(before, "update", { queue: { waiting: 9 }, history: { series: {} } })!;
    expect(after.queue).toEqual({ waiting: 9 });
    expect(after.leases).toBe(before.leases);
    expect(after.history).toBe(before.history);
  });

  test("a_point_shifts_the_hour_and_what_it_does_not_name_is_a_gap", () => {
    const after = fold(snapshot(), "point", { at: 6 * STEP, values: { ack_p50: 4, tpot_p50: 1 } })!;
    expect(after.history.series).toEqual({
      ack_p50: [1, 2, 3, 4],
      waiting: [null, null, 7, null],
      tpot_p50: [null, null, null, 1],
    });
    expect(after.history.end).toBe(6 * STEP);
  });

  test("points_that_were_missed_stay_a_gap_and_one_that_comes_twice_counts_once", () => {
    const after = fold(snapshot(), "point", { at: 8 * STEP, values: { ack_p50: 4, waiting: 1 } })!;
    expect(after.history.series.ack_p50).toEqual([1, 2, 3, null, null, 4]);
    expect(fold(after, "point", { at: 8 * STEP, values: { ack_p50: 9 } })!.history).toBe(after.history);
  });

  test("the_hour_never_outgrows_its_bound", () => {
    let now = snapshot();
    for (let at = 6; at < 6 + 2 * MAX_POINTS; at += 1)
      now = fold(now, "point", { at: at * STEP, values: { ack_p50: at } })!;
    expect(now.history.series.ack_p50).toHaveLength(MAX_POINTS);
    expect(now.history.series.ack_p50![0]).toBe(6 + MAX_POINTS);
    now = fold(now, "point", { at: 9e9, values: { ack_p50: 1 } })!;
    expect(now.history.series.ack_p50).toHaveLength(MAX_POINTS);
    expect(now.history.series.ack_p50!.slice(-2)).toEqual([null, 1]);
  });

  test("what_comes_before_the_snapshot_and_what_nobody_knows_changes_nothing", () => {
    expect(fold(undefined, "update", { queue: {} })).toBeUndefined();
    const now = snapshot();
    expect(fold(now, "weather", {})).toBe(now);
  });
});

describe("figures", () => {
  test("a_wait_has_three_digits_at_most_and_a_dash_where_there_is_none", () => {
    expect(
      [
        undefined,
        null,
        NaN,
        0,
        0.0123,
        0.82,
        9.94,
        9.96,
        214.4,
        999.6,
        1380,
        9994,
        12_340,
        59_949,
        59_960,
        200_000,
      ].map(wait),
    ).toEqual([
      "–",
      "–",
      "–",
      "0 ms",
      "0.012 ms",
      "0.82 ms",
      "9.9 ms",
      "10 ms",
      "214 ms",
      "1.00 s",
      "1.38 s",
      "9.99 s",
      "12.3 s",
      "59.9 s",
      "1 min",
      "3 min 20 s",
    ]);
  });

  test("spans_counts_sizes_and_money_are_short", () => {
    expect([0, 61_000, 7_500_000, 273_600_000].map(span)).toEqual(["0 s", "1 min 1 s", "2 h 5 min", "3 d 4 h"]);
    expect([undefined, 0, 0.123, 12.6, 1310, 2_340_000].map(amount)).toEqual([
      "–",
      "0",
      "0.12",
      "13",
      "1,310",
      "2.34 M",
    ]);
    expect([500, 1536, 88_400_000_000].map(bytes)).toEqual(["500 B", "1.5 KiB", "82.3 GiB"]);
    expect([0, 0.0000012, 0.0042, 0.305, 1234.5].map(usd)).toEqual([
      "$0",
      "$0.0000012",
      "$0.0042",
      "$0.31",
      "$1,234.50",
    ]);
    expect([0, 0.004, 0.5, 0.999, 1].map(percent)).toEqual(["0 %", "under 1 %", "50 %", "over 99 %", "100 %"]);
    expect([newest([1, null, 0, null]), newest([]), newest(undefined)]).toEqual([0, undefined, undefined]);
  });
});

describe("where a budget ends", () => {
  const noon = Date.UTC(2026, 10, 23, 12);

  test("it_goes_on_as_it_began_and_says_when_the_limit_is_reached", () => {
    expect(project(3, 10, "day", noon)).toEqual({ end_usd: 6, state: "within" });
    expect(project(4.8, 10, "day", noon).state).toBe("near");
    expect(project(8, 10, "day", noon)).toEqual({ end_usd: 16, reached_at: Date.UTC(2026, 10, 23, 15), state: "over" });
    expect(project(10, 10, "day", noon).state).toBe("spent");
    expect(project(3, undefined, "day", noon)).toEqual({ end_usd: 6, state: "within" });
    expect(project(22.5, 40, "month", noon).end_usd).toBeCloseTo(30);
  });

  test("too_little_of_a_period_foretells_nothing", () => {
    expect(project(9, 10, "day", Date.UTC(2026, 10, 23, 0, 59))).toEqual({ state: "early" });
    expect(project(9, 10, "month", Date.UTC(2026, 10, 1, 23))).toEqual({ state: "early" });
    expect(project(11, 10, "day", Date.UTC(2026, 10, 23, 0, 5)).state).toBe("spent");
  });

  test("days_without_cost_are_there_and_small_tenants_are_added_up", () => {
    const row = (day: string, tenant: string, cost_usd: number) => ({ day, tenant, cost_usd, tasks: 1 }) as never;
    const rows = ["a", "b", "c", "d", "e", "f"].map((tenant, at) => row("2026-11-02", tenant, 10 - at));
    const { unit, days, parts } = byDay({ from: "2026-11-01", to: "2026-11-03", rows, total: {} as never });
    expect([unit, days]).toEqual(["usd", ["2026-11-01", "2026-11-02", "2026-11-03"]]);
    expect(parts.map(({ name }) => name)).toEqual(["a", "b", "c", "d", "2 others"]);
    expect(parts.at(-1)!.values).toEqual([0, 11, 0]);
    expect(
      byDay({ from: "2026-11-01", to: "2026-11-01", rows: [row("2026-11-01", "a", 0)], total: {} as never }).unit,
    ).toBe("tasks");
  });
});

/** Time that a test moves, and streams that it writes. */
function wires() {
  const timers: { at: number; run: () => void }[] = [];
  let now = 0;
  const clock: Clock = {
    now: () => now,
    random: () => 0.5,
    after(ms, run) {
      const timer = { at: now + ms, run };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer) >>> 0, 1);
    },
    frame: (run) => run(),
  };
  const streams: ReadableStreamDefaultController<Uint8Array>[] = [];
  let refusal: TidewireError | undefined;
  let opened = 0;
  let closed = 0;
  const feed = new Feed({
    clock,
    today: () => now,
    open: async (signal) => {
      opened += 1;
      if (refusal) throw refusal;
      return new Response(
        new ReadableStream({
          start(controller) {
            streams.push(controller);
            signal.addEventListener("abort", () => {
              closed += 1;
              controller.error(signal.reason);
            });
          },
        }),
      );
    },
  });
  const settle = () => new Promise((done) => setTimeout(done));
  return {
    feed,
    settle,
    opened: () => opened,
    closed: () => closed,
    refuse: (error: TidewireError | undefined) => (refusal = error),
    async send(event: string, data: unknown) {
      streams.at(-1)!.enqueue(new TextEncoder().encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`));
      await settle();
    },
    async comment() {
      streams.at(-1)!.enqueue(new TextEncoder().encode(": still here\n\n"));
      await settle();
    },
    async cut() {
      streams.at(-1)!.close();
      await settle();
    },
    async pass(ms: number) {
      now += ms;
      for (const timer of timers.filter(({ at }) => at <= now)) {
        timers.splice(timers.indexOf(timer), 1);
        timer.run();
      }
      await settle();
    },
  };
}

describe("the subscription", () => {
  const FIRST = { server: { version: "1" }, queue: { waiting: 1 } };

  test("a_cut_keeps_the_last_figures_and_comes_back_by_itself", async () => {
    const { feed, settle, send, cut, pass, opened } = wires();
    feed.subscribe(() => {});
    await settle();
    expect(feed.get().link).toBe("connecting");
    await send("snapshot", FIRST);
    expect(feed.get().link).toBe("live");
    await cut();
    expect([feed.get().link, feed.get().snapshot!.queue.waiting, opened()]).toEqual(["cut", 1, 1]);
    await pass(249);
    expect(opened()).toBe(1);
    await pass(1);
    expect(opened()).toBe(2);
    await send("snapshot", { ...FIRST, queue: { waiting: 2 } });
    expect([feed.get().link, feed.get().snapshot!.queue.waiting]).toEqual(["live", 2]);
  });

  test("a_silent_connection_is_given_up_and_a_heartbeat_keeps_one", async () => {
    const { feed, settle, send, comment, pass, opened } = wires();
    feed.subscribe(() => {});
    await settle();
    await send("snapshot", FIRST);
    await pass(34_000);
    await comment();
    await pass(34_000);
    expect([feed.get().link, opened()]).toEqual(["live", 1]);
    await pass(2_000);
    expect([feed.get().link, feed.get().heardAt]).toEqual(["cut", 34_000]);
  });

  test("a_pause_holds_what_is_shown_and_its_end_shows_what_came_meanwhile", async () => {
    const { feed, settle, send } = wires();
    feed.subscribe(() => {});
    await settle();
    await send("snapshot", FIRST);
    feed.pause(true);
    await send("update", { queue: { waiting: 5 } });
    expect(feed.get().snapshot!.queue.waiting).toBe(1);
    feed.pause(false);
    expect(feed.get().snapshot!.queue.waiting).toBe(5);
  });

  test("a_refusal_for_good_is_asked_again_only_by_a_person", async () => {
    const { feed, settle, refuse, pass, opened } = wires();
    refuse(new TidewireError({ code: "forbidden", message: "no" }, 403));
    const leave = feed.subscribe(() => {});
    await settle();
    await pass(600_000);
    expect([feed.get().link, opened()]).toEqual(["refused", 1]);
    leave();
    feed.subscribe(() => {});
    expect(opened()).toBe(1);
    refuse(undefined);
    feed.wake();
    expect(opened()).toBe(2);
  });

  test("a_server_that_asks_for_time_gets_it", async () => {
    const { feed, settle, refuse, pass, opened } = wires();
    refuse(new TidewireError({ code: "too_many_follows", message: "later", retry_after_ms: 9_000 }, 429));
    feed.subscribe(() => {});
    await settle();
    await pass(8_999);
    expect(opened()).toBe(1);
    await pass(1);
    expect(opened()).toBe(2);
  });

  test("nobody_who_looks_means_no_stream_and_another_page_takes_it_over", async () => {
    const { feed, settle, send, pass, opened, closed } = wires();
    const leave = feed.subscribe(() => {});
    await settle();
    await send("snapshot", FIRST);
    leave();
    await pass(1_000);
    const leaveAgain = feed.subscribe(() => {});
    await pass(60_000 - 35_000);
    expect([opened(), closed()]).toEqual([1, 0]);
    leaveAgain();
    await pass(2_000);
    expect([opened(), closed()]).toEqual([1, 1]);
    await pass(100_000);
    expect(opened()).toBe(1);
  });
});

describe("what operators do", () => {
  test("dead_letters_are_retried_until_none_is_left_and_wait_for_room", async () => {
    const answers = [
      { retried: [{ task: "a", retried_as: "1" }], refused: [], more: true },
      {
        retried: [],
        refused: [{ task: "b", error: { code: "queue_full", message: "full", retry_after_ms: 700 } }],
        more: true,
      },
      {
        retried: [{ task: "b", retried_as: "2" }],
        refused: [{ task: "c", error: { code: "unknown_model", message: "gone" } }],
        more: false,
      },
    ];
    const waited: number[] = [];
    const told: Progress[] = [];
    const end = await retryAll(
      {},
      new AbortController().signal,
      (now) => told.push(now),
      async () => answers.shift()!,
      async (ms) => void waited.push(ms),
    );
    expect([end.retried, end.refused.map(({ task }) => task), waited]).toEqual([2, ["c"], [700]]);
    expect(told.map(({ retried }) => retried)).toEqual([1, 1, 2]);
    expect([told[1]!.refused, told[1]!.waitsMs]).toEqual([[], 700]);
  });

  test("letters_that_are_refused_for_ever_end_it_and_a_stop_too", async () => {
    const refused = [{ task: "a", error: { code: "unknown_model", message: "gone" } }];
    let asked = 0;
    const ask = async () => ((asked += 1), { retried: [], refused, more: true });
    await retryAll({}, new AbortController().signal, () => {}, ask);
    expect(asked).toBe(1);
    const stop = new AbortController();
    const some = async () => ((asked += 1), { retried: [{ task: "x", retried_as: "y" }], refused: [], more: true });
    await retryAll({}, stop.signal, () => asked > 3 && stop.abort(), some);
    expect(asked).toBe(4);
  });

  test("the_end_of_a_long_audit_log_is_found_in_few_requests", async () => {
    for (const [first, count] of [
      [0, 0],
      [0, 12],
      [0, 1000],
      [0, 1001],
      [400_000, 983_217],
    ] as const) {
      let asked = 0;
      const ask = async (query: string): Promise<Page> => {
        asked += 1;
        const search = new URLSearchParams(query);
        const from = Math.max(first, search.has("after") ? Number(search.get("after")) + 1 : 0);
        const to = Math.min(first + count, from + Number(search.get("limit")));
        const entries = Array.from({ length: Math.max(0, to - from) }, (_, at) => ({ offset: from + at }) as never);
        return { entries, ...(to < first + count && entries.length ? { next: to - 1 } : {}) };
      };
      const found = await newestEntries(ask);
      expect(found[0]?.offset).toBe(count ? first + count - 1 : undefined);
      expect(asked).toBeLessThan(30);
    }
  });

  test("tokens_are_folded_and_other_events_are_not", () => {
    const at = 1;
    const events = folded(
      folded(
        [],
        [
          { offset: 0, type: "started", at, data: {} },
          { offset: 1, count: 2, type: "text", at, data: "ab" },
        ],
      ),
      [
        { offset: 3, type: "text", at, data: "c" },
        { offset: 4, type: "rewind", at, data: { to: 1 } },
        { offset: 5, type: "text", at, data: "d" },
      ],
    );
    expect(events.map(({ offset, count, data }) => [offset, count, data])).toEqual([
      [0, 1, {}],
      [1, 3, "abc"],
      [4, 1, { to: 1 }],
      [5, 1, "d"],
    ]);
  });

  test("tokens_on_both_sides_of_a_gap_are_not_one_event", () => {
    const text = (offset: number) => ({ offset, type: "text", at: 1, data: "x" });
    expect(folded([], [text(0), text(2)])).toHaveLength(2);
  });

  test("a_trace_becomes_rows_that_lie_within_the_whole", () => {
    const span = (id: string, parent: string | undefined, start_us: number, end_us?: number) =>
      ({
        id,
        parent,
        start_us,
        end_us,
        part: "",
        name: id,
        offset: 0,
        duration_us: 0,
        status: "ok",
        attributes: {},
      }) as never;
    const { rows, total_ms } = ladder({
      trace_id: "",
      state: "running",
      now_us: 5_000,
      spans: [
        span("task", "outside", 1_000),
        span("queue", "task", 1_000, 2_000),
        span("first", "queue", 5_000, 5_000),
      ],
    });
    expect(total_ms).toBe(4);
    expect(rows.map(({ depth, from }) => [depth, from])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0.996],
    ]);
    expect(rows.every(({ from, wide }) => from + wide <= 1.0001)).toBe(true);
  });

  test("limits_are_numbers_or_nothing", () => {
    expect(limits({ usd_per_day: "2.5", requests_per_minute: "60", usd_per_month: " " })).toEqual({
      usd_per_day: 2.5,
      requests_per_minute: 60,
    });
    for (const bad of ["x", "-1", "1.5"]) expect(limits({ requests_per_minute: bad })).toBeUndefined();
  });

  test("nobody_sees_a_page_that_their_scopes_do_not_allow", () => {
    expect(allowed(["tasks:read", "tasks:write"]).map(({ place }) => place)).toEqual([
      "money",
      "requests",
      "dead-letters",
    ]);
    expect(allowed(["admin:read", "tasks:read"])).toHaveLength(6);
    expect(allowed(["files"])).toEqual([]);
  });
});
