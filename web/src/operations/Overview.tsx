// The whole server at a glance: how long people wait, what waits, who works, and the last hour of each.
import { Skeleton } from "../parts/Skeleton";
import { number } from "../parts/words";
import { amount, bytes, newest, NONE, span, usd, wait } from "./figures";
import { Hour } from "./Hour";
import type { Snapshot } from "./model";
import { Refused } from "./Refused";
import { Priorities, Leases, TenantsWaiting, Workers } from "./Queue";
import { Stat, WaitStat } from "./Stat";
import { useLive, useNow } from "./useLive";

const MINUTE_MS = 60_000;

export default function Overview() {
  const { snapshot, link } = useLive();
  return (
    <main className="body overview">
      <Refused />
      {snapshot ? <Figures snapshot={snapshot} /> : link !== "refused" && <Skeleton />}
    </main>
  );
}

function Figures({ snapshot }: { snapshot: Snapshot }) {
  const { latencies, queue, history, workers, leases } = snapshot;
  const { series } = history;
  return (
    <>
      <section aria-labelledby="waits">
        <h2 id="waits">
          How long people wait <small>of the last minute; lines of the last hour</small>
        </h2>
        <div className="stats">
          <WaitStat wait="ttft" of={latencies} series={series} />
          <WaitStat wait="tpot" of={latencies} series={series} />
          <WaitStat wait="ttar" of={latencies} series={series} />
          <WaitStat wait="ack" of={latencies} series={series} />
          <WaitStat wait="delivery_lag" of={latencies} series={series} />
        </div>
      </section>
      <section aria-labelledby="work">
        <h2 id="work">What is going on</h2>
        <div className="stats">
          <Stat
            name="Waiting"
            value={amount(queue.waiting)}
            note={queue.oldest_ms === undefined ? "nothing waits" : `the oldest for ${wait(queue.oldest_ms)}`}
            values={series.waiting}
          />
          <Stat name="Running" value={amount(queue.running)} note={slots(workers)} values={series.running} />
          <Stat
            name="Tasks a second"
            value={amount(newest(series.tasks_per_second))}
            note={failing(newest(series.failed_per_second))}
            values={series.tasks_per_second}
          />
          <Stat
            name="Tokens a second"
            value={amount(snapshot.server.tokens_per_second ?? newest(series.tokens_per_second))}
            note={`${usd(newest(series.cost_usd_per_hour))} an hour`}
            values={series.tokens_per_second}
          />
          <Stat
            name="Connections"
            value={amount(snapshot.server.connections)}
            note="open now"
            values={series.connections}
          />
        </div>
      </section>
      <Hour history={history} />
      <div className="columns">
        <Priorities queue={queue} />
        <TenantsWaiting queue={queue} />
        <Workers workers={workers} />
        <Refusals refusals={snapshot.refusals} />
      </div>
      <Leases leases={leases} />
      <Machine snapshot={snapshot} />
    </>
  );
}

const slots = (workers: Snapshot["workers"]) => {
  const all = workers.reduce((sum, worker) => sum + worker.slots, 0);
  return all ? `of ${number(all)} slots` : "no worker";
};
const failing = (rate: number | undefined) => (rate ? `${amount(rate)} fail` : "none fails");

const REFUSED: Record<string, string> = {
  queue_full: "Queue full",
  rate_limited: "Over a rate",
  budget_exceeded: "Over a budget",
  retries: "Attempts tried again",
  disk_failures: "Disk failures",
};

function Refusals({ refusals }: { refusals: Snapshot["refusals"] }) {
  return (
    <section className="panel" aria-labelledby="refused">
      <h2 id="refused">
        Refused and retried <small>since the start</small>
      </h2>
      <dl className="pairs">
        {Object.entries(refusals).map(([code, count]) => (
          <div key={code} data-bad={code === "disk_failures" && count > 0}>
            <dt>{REFUSED[code] ?? code}</dt>
            <dd>{number(count)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Machine({ snapshot: { server } }: { snapshot: Snapshot }) {
  const now = useNow(MINUTE_MS);
  const imbalance = server.ledger_imbalance_usd ?? 0;
  const pairs: [string, string, boolean?][] = [
    ["Version", server.version],
    ["Up for", span(Math.max(now, server.at) - server.started_at)],
    ["Engine", `${server.engine}, ${server.durability}`],
    ["New work", server.takes_changes ? "taken" : "refused", !server.takes_changes],
    ["Disk free", bytes(server.data_free_bytes)],
    ["Kept in memory", ofBound(server)],
    ["Commits a second", amount(server.commits_per_second)],
    ["Sync to disk, p99", wait(server.fsync_p99_ms)],
    ["Ledger", imbalance === 0 ? "balanced" : `off by ${usd(imbalance)}`, imbalance !== 0],
  ];
  return (
    <section className="panel" aria-labelledby="machine">
      <h2 id="machine">Server</h2>
      <dl className="pairs wide">
        {pairs.map(([name, value, bad = false]) => (
          <div key={name} data-bad={bad}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

const ofBound = ({ transient_bytes, transient_bound_bytes }: Snapshot["server"]) =>
  transient_bytes === undefined
    ? NONE
    : `${bytes(transient_bytes)}${transient_bound_bytes ? ` of ${bytes(transient_bound_bytes)}` : ""}`;
