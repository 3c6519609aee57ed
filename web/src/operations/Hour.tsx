// The last hour as charts: one wait that is chosen, the queue, and what comes out.
import { useMemo, useState } from "react";
import { sentence } from "../parts/words";
import { Chart } from "./charts/Chart";
import type { Line } from "./charts/Lines";
import { amount, clock, wait } from "./figures";
import { DASHES } from "./lines";
import type { History, Wait } from "./model";
import { WAITS } from "./Stat";

const lines = () => import("./charts/Lines");
const HEIGHT_PX = 180;
// Of six points a minute a reader of the table gets one.
const TABLE_EVERY = 6;
const CHOICES: Wait[] = ["ttft", "tpot", "ttar", "ack", "delivery_lag"];

export function Hour({ history }: { history: History }) {
  const [chosen, choose] = useState<Wait>("ttft");
  const { series } = history;
  const pick = (
    <label className="pick push">
      <span className="unseen">Which wait</span>
      <select value={chosen} onChange={(event) => choose(event.target.value as Wait)}>
        {CHOICES.map((one) => (
          <option key={one} value={one}>
            {WAITS[one].name}
          </option>
        ))}
      </select>
    </label>
  );
  const [middle, high] = [series[`${chosen}_p50`], series[`${chosen}_p99`]];
  const waits = useMemo(() => [line("p50", middle, 1, DASHES.p50), line("p99", high, 2, DASHES.p99)], [middle, high]);
  const { waiting, running, tokens_per_second: tokens, tasks_per_second: tasks, failed_per_second: failed } = series;
  const queue = useMemo(
    () => [line("Waiting", waiting, 2, DASHES.p99), line("Running", running, 1)],
    [waiting, running],
  );
  const tokenLines = useMemo(() => [line("Tokens a second", tokens, 1)], [tokens]);
  const ends = useMemo(
    () => [line("Tasks a second", tasks, 1), line("Failed a second", failed, 3, DASHES.p95)],
    [tasks, failed],
  );
  const from = "Submit a task, or send a message in the chat: its figures appear within ten seconds.";
  return (
    <section aria-labelledby="hour">
      <h2 id="hour">The last hour</h2>
      <div className="charts">
        <HourChart
          title={WAITS[chosen].name}
          history={history}
          lines={waits}
          unit={wait}
          aside={pick}
          empty={
            chosen === "ttar" ? "Screens that use the SDK report this figure: open the chat, and ask something." : from
          }
        />
        <HourChart title="Queue" history={history} lines={queue} unit={amount} empty={from} />
        <HourChart title="Tokens" history={history} lines={tokenLines} unit={amount} empty={from} />
        <HourChart title="Tasks that end" history={history} lines={ends} unit={amount} empty={from} />
      </div>
    </section>
  );
}

const line = (name: string, values: readonly (number | null)[] | undefined, colour: number, dash?: number[]): Line => ({
  name,
  values: values ?? [],
  colour,
  ...(dash ? { dash } : {}),
});

function HourChart({
  title,
  history: { end, step_ms },
  lines: shown,
  unit,
  empty,
  aside,
}: {
  title: string;
  history: History;
  lines: Line[];
  unit: (value: number | null | undefined) => string;
  empty: string;
  aside?: React.ReactNode;
}) {
  const label = summary(title, shown, unit);
  const data = useMemo(
    () => ({ end, step_ms, lines: shown, unit, height: HEIGHT_PX, label }),
    [end, step_ms, shown, unit, label],
  );
  const some = shown.some(({ values }) => values.some((value) => value !== null));
  return (
    <Chart
      title={title}
      load={lines}
      data={data}
      height={HEIGHT_PX}
      aside={aside}
      empty={some ? undefined : empty}
      table={() => table(data)}
    />
  );
}

/** The chart in a sentence. */
function summary(title: string, shown: Line[], unit: (value: number | null | undefined) => string): string {
  const told = shown.map(({ name, values }) => {
    const most = Math.max(...values.map((value) => value ?? 0), 0);
    return `${name.toLowerCase()} now ${unit(values.at(-1))}, at most ${unit(most)}`;
  });
  return `${title}, the last hour: ${told.join("; ")}.`;
}

function table({
  end,
  step_ms,
  lines: shown,
  unit,
}: {
  end: number;
  step_ms: number;
  lines: Line[];
  unit: (value: number | null | undefined) => string;
}) {
  const length = Math.max(0, ...shown.map(({ values }) => values.length));
  const rows: string[][] = [];
  for (let at = length - 1; at >= 0; at -= TABLE_EVERY)
    rows.push([clock(end - (length - 1 - at) * step_ms), ...shown.map(({ values }) => unit(values[at]))]);
  return { head: ["Time", ...shown.map(({ name }) => sentence(name))], rows };
}
