// One figure with the shape of its last hour; of a wait the three percentiles, told apart by their dashes as in every chart.
import { useMemo, useRef } from "react";
import { Loaded, useSeen } from "./charts/Chart";
import { amount, wait } from "./figures";
import { DASHES } from "./lines";
import type { History, Snapshot, Wait } from "./model";

const sparkline = () => import("./charts/Sparkline");
const NOTHING = <span className="spark" />;

export const WAITS: Record<Wait, { name: string; means: string }> = {
  ttft: { name: "First token", means: "TTFT: from the request's receipt to the first token on disk" },
  tpot: { name: "Each token", means: "TPOT: the time each token after the first one takes" },
  ttar: { name: "First thing seen", means: "TTAR: as screens report it, to the first frame that showed something" },
  ack: { name: "Acknowledged", means: "from the request's receipt to its commit" },
  delivery_lag: { name: "Delivered", means: "from an event's commit to the reader's socket" },
  total: { name: "Whole answer", means: "from the request's receipt to its end" },
};

export function WaitStat({
  wait: kind,
  of,
  series,
}: {
  wait: Wait;
  of: Snapshot["latencies"];
  series: History["series"];
}) {
  const now = of[kind];
  const { name, means } = WAITS[kind];
  const [middle, high] = [series[`${kind}_p50`], series[`${kind}_p99`]];
  const lines = useMemo(
    () => [
      { values: middle ?? [], colour: 1, dash: DASHES.p50 },
      { values: high ?? [], colour: 2, dash: DASHES.p99 },
    ],
    [middle, high],
  );
  return (
    <div className="stat" data-stat={kind}>
      <h3 title={means}>
        {name}
        <span className="unseen">, {means}</span>
      </h3>
      <p className="figure number">
        {wait(now?.p50_ms)}
        <span className="unseen"> median</span>
        {now && <small> p50 of {amount(now.count)}</small>}
      </p>
      <Spark lines={lines} />
      <dl className="number">
        <div>
          <dt>p95</dt>
          <dd>{wait(now?.p95_ms)}</dd>
        </div>
        <div>
          <dt>p99</dt>
          <dd>{wait(now?.p99_ms)}</dd>
        </div>
      </dl>
    </div>
  );
}

export function Stat({
  name,
  value,
  note,
  values,
}: {
  name: string;
  value: string;
  note: string;
  values: readonly (number | null)[] | undefined;
}) {
  const lines = useMemo(() => [{ values: values ?? [], colour: 1 }], [values]);
  return (
    <div className="stat">
      <h3>{name}</h3>
      <p className="figure number">{value}</p>
      <Spark lines={lines} />
      <p className="muted number">{note}</p>
    </div>
  );
}

function Spark(data: { lines: { values: readonly (number | null)[]; colour: number; dash?: number[] | undefined }[] }) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSeen(box);
  return (
    <div ref={box} className="sparkbox">
      {seen ? <Loaded load={sparkline} data={data} shape={NOTHING} /> : NOTHING}
    </div>
  );
}
