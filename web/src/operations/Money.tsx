// What it costs: budgets and where they will end, cost by day, and what kept answers saved. Those who are no operators see
// what is their own.
import { useEffect, useMemo, useState } from "react";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { number } from "../parts/words";
import { call, told, type Caller } from "../server";
import { Chart } from "./charts/Chart";
import { amount, bytes, clock, dayOf, moment, percent, usd } from "./figures";
import { filterPath } from "./filter";
import type { Cache, Tenant } from "./model";
import { Refused } from "./Refused";
import { bounds, project, type Period, type Projection } from "./projection";
import { byDay, type UsageReport } from "./usage";
import { useLive, useNow } from "./useLive";

const days = () => import("./charts/Days");
const DAYS_PX = 180;
const MINUTE_MS = 60_000;

export default function Money({ who }: { who: Caller }) {
  const operator = who.scopes.includes("admin:read");
  return (
    <main className="body">
      {operator && <Budgets />}
      <CostByDay operator={operator} />
    </main>
  );
}

function Budgets() {
  const { snapshot, link } = useLive();
  const now = useNow(MINUTE_MS);
  if (!snapshot)
    return link === "refused" ? (
      <Refused />
    ) : (
      // As tall as what comes, so that the days' cost is not pushed down.
      <div className="coming">
        <Skeleton />
      </div>
    );
  const { tenants, cache } = snapshot;
  return (
    <>
      <section aria-labelledby="budgets">
        <h2 id="budgets">
          Tenants and their budgets{" "}
          <small>
            dearest first; a bar is what is spent, hatched what is reserved, the dots where it will end, the line its
            limit
          </small>
        </h2>
        {tenants.length === 0 && <p className="note muted">No tenant has spent anything yet.</p>}
        <ul className="budgets">
          {tenants.map((tenant) => (
            <TenantRow key={tenant.name} tenant={tenant} now={now} />
          ))}
        </ul>
      </section>
      <Savings cache={cache} />
    </>
  );
}

function TenantRow({ tenant, now }: { tenant: Tenant; now: number }) {
  return (
    <li className="panel budget">
      <div className="row">
        <h3>
          <a href={filterPath({ tenant: tenant.name })}>{tenant.name}</a>
        </h3>
        {tenant.suspended && (
          <span className="state" data-state="failed">
            Suspended
          </span>
        )}
        <span className="muted number push">
          {number(tenant.tasks_today)} {tenant.tasks_today === 1 ? "task" : "tasks"} today
        </span>
      </div>
      <Budget
        period="day"
        spent={tenant.today_usd}
        reserved={tenant.reserved_usd}
        limit={tenant.day_limit_usd}
        now={now}
      />
      <Budget
        period="month"
        spent={tenant.month_usd}
        reserved={tenant.reserved_usd}
        limit={tenant.month_limit_usd}
        now={now}
      />
    </li>
  );
}

const SAYS: Record<Projection["state"], string> = {
  early: "done",
  within: "done",
  near: "waiting",
  over: "failed",
  spent: "failed",
};

function Budget({
  period,
  spent,
  reserved,
  limit,
  now,
}: {
  period: Period;
  spent: number;
  reserved: number;
  limit: number | undefined;
  now: number;
}) {
  const projection = project(spent, limit, period, now);
  const name = period === "day" ? "Today" : "This month";
  // Of a budget that is spent nothing more comes: its bar is full.
  const end = projection.state === "spent" ? undefined : projection.end_usd;
  const full = Math.max(limit ?? 0, end ?? 0, spent + reserved) || 1;
  const part = (value: number) => `${Math.min(100, (value / full) * 100)}%`;
  const words = foretold(projection, limit, period);
  return (
    <div className="spending">
      <span>{name}</span>
      <span
        className="meter"
        role="meter"
        aria-label={`${name}: spent`}
        aria-valuemin={0}
        aria-valuemax={limit ?? full}
        aria-valuenow={spent}
        aria-valuetext={`${usd(spent)}${limit === undefined ? ", no limit" : ` of ${usd(limit)}`}. ${words}`}
        data-state={SAYS[projection.state]}
      >
        <i className="spent" style={{ width: part(spent) }} />
        <i className="reserved" style={{ width: part(reserved) }} />
        {Boolean(end) && <b className="end" style={{ left: part(end!) }} />}
        {limit !== undefined && limit < full && <b className="limit" style={{ left: part(limit) }} />}
      </span>
      <span className="number">
        {usd(spent)}
        <span className="muted">{limit === undefined ? " · no limit" : ` of ${usd(limit)}`}</span>
      </span>
      <span className="number foretold" data-state={SAYS[projection.state]}>
        {words}
      </span>
    </div>
  );
}

function foretold({ end_usd, reached_at, state }: Projection, limit: number | undefined, period: Period): string {
  const end = period === "day" ? "midnight" : "the month's end";
  if (state === "spent") return "Spent: tasks are refused";
  if (state === "early") return "Too early to foretell";
  if (state === "over") {
    const when = period === "day" ? `at ${clock(reached_at!)}` : `on ${dayOf(reached_at!)}`;
    return `${usd(end_usd)} by ${end}, the limit ${when}`;
  }
  return `${usd(end_usd)} by ${end}${limit !== undefined && state === "near" ? ", near the limit" : ""}`;
}

function Savings({ cache }: { cache: Partial<Cache> }) {
  const {
    hits = 0,
    stale = 0,
    joined = 0,
    misses = 0,
    semantic_hits = 0,
    entries = 0,
    bytes: kept,
    saved_today_usd = 0,
  } = cache;
  const served = hits + stale + joined + semantic_hits;
  const all = served + misses;
  return (
    <section className="panel" aria-labelledby="cache">
      <h2 id="cache">
        Kept answers <small>since the start</small>
      </h2>
      {all === 0 ? (
        <p className="muted">
          No route keeps answers, or nobody has asked one yet. <code>[route.cache]</code> in the configuration makes a
          route keep them.
        </p>
      ) : (
        <dl className="pairs wide number">
          {[
            ["Saved today", usd(saved_today_usd)],
            ["Answered without a model", percent(served / all)],
            ["Fresh hits", number(hits)],
            ["By meaning", number(semantic_hits)],
            ["Stale, while or for want of a new one", number(stale)],
            ["Joined one on its way", number(joined)],
            ["Misses", number(misses)],
            ["Kept now", `${amount(entries)} (${bytes(kept)})`],
          ].map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      )}
    </section>
  );
}

function CostByDay({ operator }: { operator: boolean }) {
  const [found, set] = useState<{ report?: UsageReport; error?: unknown }>({});
  const [attempt, again] = useState(0);
  useEffect(() => {
    let left = false;
    const query = operator ? "group_by=day,tenant&tenant=all&limit=10000" : "group_by=day";
    call<UsageReport>(`v1/usage?${query}`).then(
      (report) => left || set({ report }),
      (error: unknown) => left || set((before) => ({ ...before, error })),
    );
    return () => {
      left = true;
    };
  }, [operator, attempt]);
  const { report, error } = found;
  const data = useMemo(() => (report ? { ...byDay(report), height: DAYS_PX } : undefined), [report]);
  const { from, to } = bounds("day", Date.now());
  return (
    <section className="panel" aria-labelledby="cost">
      <h2 id="cost">
        {operator ? "Cost by day" : "Your usage"}{" "}
        {report && (
          <small className="number">
            {usd(report.total.cost_usd)} and {number(report.total.tasks)} tasks in 30 days
            {report.total.saved_usd ? `, ${usd(report.total.saved_usd)} saved` : ""}
          </small>
        )}
        <button type="button" className="quiet small push" onClick={() => again((count) => count + 1)}>
          Refresh
        </button>
      </h2>
      {Boolean(error) && (
        <Fault error={told(error)} {...(report ? { kept: "The figures below are the last that came." } : {})} />
      )}
      {!(error && !report) && (
        <Chart
          title={data?.unit === "tasks" ? "Tasks that ended" : operator ? "Whose" : "In dollars"}
          load={days}
          data={data}
          height={DAYS_PX}
          empty={
            report && report.rows.length === 0
              ? "Nothing has been used in 30 days. The first task that ends appears here."
              : undefined
          }
          table={() => ({
            head: ["Day", ...(operator ? ["Tenant"] : []), "Tasks", "Tokens in", "Tokens out", "Cost", "Saved"],
            rows: (report?.rows ?? [])
              .toReversed()
              .map((row) => [
                row.day,
                ...(operator ? [row.tenant ?? ""] : []),
                number(row.tasks),
                number(row.input_tokens),
                number(row.output_tokens),
                usd(row.cost_usd),
                usd(row.saved_usd),
              ]),
          })}
        />
      )}
      <p className="unseen">
        Today in UTC began {moment(from)} and ends {moment(to)}.
      </p>
    </section>
  );
}
