// Who answers: every route and its deployments, how each is now, and how its last hour went minute by minute.
import { Skeleton } from "../parts/Skeleton";
import { number } from "../parts/words";
import { Chart } from "./charts/Chart";
import { amount, clock, percent, span, wait } from "./figures";
import { filterPath } from "./filter";
import type { Deployment, Minute, Route, Snapshot } from "./model";
import { Refused } from "./Refused";
import { useHeld, useLive, useNow } from "./useLive";

const strip = () => import("./charts/Strip");
const STRIP_PX = 28;
// The strip moves on also where nothing is asked.
const SHIFT_MS = 10_000;

export default function Deployments() {
  const { snapshot, link } = useLive();
  return (
    <main className="body">
      <Refused />
      {snapshot ? <Routes snapshot={snapshot} /> : link !== "refused" && <Skeleton />}
    </main>
  );
}

function Routes({ snapshot: { routes, deployments } }: { snapshot: Snapshot }) {
  const now = useNow(SHIFT_MS);
  const { held, hold } = useHeld(routes);
  if (held.length === 0)
    return (
      <p className="note muted">
        This server has no routes. A <code>[[deployment]]</code> in its configuration makes one.
      </p>
    );
  return (
    <div {...hold}>
      {held.map((route) => (
        <section key={route.name} className="panel route" aria-label={`Route ${route.name}`}>
          <h2>
            {route.name} <small>{manner(route)}</small>
          </h2>
          {route.deployments.map((one) => (
            <Row
              key={one.name}
              route={route.name}
              deployment={one}
              minutes={deployments.find(({ name }) => name === one.name)?.strip ?? []}
              now={now}
            />
          ))}
        </section>
      ))}
    </div>
  );
}

const manner = ({ strategy, tries, wait_ms, prefer, fallbacks }: Route) =>
  [
    strategy.replace("_", " "),
    tries > 1 ? `up to ${tries} tries` : "one try",
    `waits up to ${span(wait_ms)}`,
    prefer?.length ? `prefers ${prefer.join(", ")}` : "",
    fallbacks?.length ? `then ${fallbacks.join(", ")}` : "",
  ]
    .filter(Boolean)
    .join(" · ");

/** The breaker in words: closed is good, which only engineers know. */
export function breaker({
  breaker: state,
  down,
  available,
  retry_after_ms,
}: Deployment): [state: string, words: string] {
  if (down) return ["failed", "Down: its health check fails"];
  if (state === "open")
    return [
      "failed",
      `Cut off: its breaker is open${retry_after_ms ? `, tried again in ${wait(retry_after_ms)}` : ""}`,
    ];
  if (state === "half_open") return ["waiting", "On trial: its breaker is half open"];
  if (!available) return ["waiting", retry_after_ms ? `Asks to wait ${wait(retry_after_ms)}` : "Busy: at its limits"];
  return ["running", "Healthy"];
}

function Row({
  route,
  deployment,
  minutes,
  now,
}: {
  route: string;
  deployment: Deployment;
  minutes: Minute[];
  now: number;
}) {
  const { name, requests, tokens, headroom, ttft_ms, tpot_ms, outcomes } = deployment;
  const [state, words] = breaker(deployment);
  const asked = minutes.reduce((sum, { ok, failed }) => sum + ok + failed, 0);
  const failed = minutes.reduce((sum, minute) => sum + minute.failed, 0);
  return (
    <article className="deployment" aria-label={`Deployment ${name}`}>
      <div className="row">
        <h3>{name}</h3>
        <span className="state" data-state={state}>
          {words}
        </span>
      </div>
      <dl className="pairs across number">
        <div>
          <dt>Outstanding</dt>
          <dd>
            {number(requests)} <span className="muted">({amount(tokens)} tokens)</span>
          </dd>
        </div>
        <div>
          <dt>Headroom</dt>
          <dd>
            <span
              className="gauge"
              role="meter"
              aria-label="Headroom"
              aria-valuemin={0}
              aria-valuemax={100}
              aria-valuenow={Math.round(headroom * 100)}
              data-low={headroom < 0.2}
            >
              <i style={{ width: `${Math.min(100, Math.max(0, headroom * 100))}%` }} />
            </span>{" "}
            {percent(headroom)}
          </dd>
        </div>
        <div>
          <dt>First token</dt>
          <dd>{wait(ttft_ms)}</dd>
        </div>
        <div>
          <dt>Each token</dt>
          <dd>{wait(tpot_ms)}</dd>
        </div>
      </dl>
      <Chart
        title="Last 60 minutes"
        load={strip}
        data={{ minutes, now, height: STRIP_PX }}
        height={STRIP_PX}
        aside={
          asked > 0 && (
            <span className="muted number">
              {number(asked)} {asked === 1 ? "request" : "requests"},{" "}
              {failed ? `${percent(failed / asked)} failed` : "none failed"}
            </span>
          )
        }
        empty={minutes.length === 0 ? "No request in the last hour. The next one shows here in its minute." : undefined}
        table={() => ({
          head: ["Minute", "Ok", "Failed", "Breaker"],
          rows: minutes
            .toReversed()
            .map((minute) => [clock(minute.at), minute.ok, minute.failed, minute.breaker.replace("_", " ")]),
        })}
      />
      <Outcomes route={route} outcomes={outcomes} />
    </article>
  );
}

function Outcomes({ route, outcomes }: { route: string; outcomes: Record<string, number> }) {
  const told = Object.entries(outcomes).sort(([, one], [, other]) => other - one);
  if (told.length === 0) return null;
  return (
    <ul className="row outcomes" aria-label="Outcomes since the start">
      {told.map(([code, count]) => (
        <li key={code} className="chip number" data-outcome={code === "ok" || code === "cut" ? code : "error"}>
          {code === "ok" || code === "cut" ? (
            code
          ) : (
            <a href={filterPath({ model: route, code, state: "failed" })}>{code}</a>
          )}{" "}
          {number(count)}
        </li>
      ))}
    </ul>
  );
}
