// What waits, for whom, and who works on what.
import { memo } from "react";
import { number } from "../parts/words";
import { span, wait } from "./figures";
import { filterPath } from "./filter";
import type { Lease, Queue, Snapshot } from "./model";
import { useHeld, useNow } from "./useLive";

const WORDS: Record<string, string> = {
  "0": "Interactive",
  interactive: "Interactive",
  normal: "Normal",
  bulk: "Bulk",
};

export function Priorities({ queue }: { queue: Queue }) {
  const most = Math.max(1, ...queue.by_priority.map(({ waiting }) => waiting));
  return (
    <section className="panel" aria-labelledby="priorities">
      <h2 id="priorities">Waiting by priority</h2>
      {queue.by_priority.length === 0 && <p className="muted">Nothing waits.</p>}
      <ul className="bars">
        {queue.by_priority.map(({ priority, waiting, oldest_ms }) => (
          <li key={priority}>
            <span>{WORDS[priority] ?? String(priority)}</span>
            <Share part={waiting / most} />
            <span className="number">{number(waiting)}</span>
            <span className="number muted">{oldest_ms === undefined ? "" : wait(oldest_ms)}</span>
          </li>
        ))}
      </ul>
      <Routes routes={queue.by_route ?? []} />
    </section>
  );
}

/** Told where there is more than one route to wait for. */
function Routes({ routes }: { routes: NonNullable<Queue["by_route"]> }) {
  if (routes.length < 2) return null;
  const most = Math.max(1, ...routes.map(({ waiting }) => waiting));
  return (
    <>
      <h3>By route</h3>
      <ul className="bars">
        {routes.map(({ route, waiting }) => (
          <li key={route}>
            <span>{route}</span>
            <Share part={waiting / most} />
            <span className="number">{number(waiting)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

export function TenantsWaiting({ queue }: { queue: Queue }) {
  const { held, hold } = useHeld(queue.by_tenant);
  const most = Math.max(1, ...held.map(({ waiting }) => waiting));
  return (
    <section className="panel" aria-labelledby="tenants" {...hold}>
      <h2 id="tenants">Waiting by tenant</h2>
      {held.length === 0 && <p className="muted">Nobody waits.</p>}
      <ul className="bars scroll">
        {held.map(({ tenant, waiting, running, oldest_ms }) => (
          <li key={tenant}>
            <a href={filterPath({ tenant, state: "queued,running" })}>{tenant}</a>
            <Share part={waiting / most} />
            <span className="number">
              {number(waiting)}
              <span className="muted"> +{number(running)}</span>
              <span className="unseen"> running</span>
            </span>
            <span className="number muted">{oldest_ms === undefined ? "" : wait(oldest_ms)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

const Share = ({ part }: { part: number }) => (
  <span className="share" aria-hidden="true">
    <i style={{ width: `${Math.max(part * 100, part > 0 ? 2 : 0)}%` }} />
  </span>
);

// A worker with more slots than this is told in words alone: nobody counts the squares.
const MAX_SQUARES = 64;

export const Workers = memo(function Workers({ workers }: { workers: Snapshot["workers"] }) {
  return (
    <section className="panel" aria-labelledby="workers">
      <h2 id="workers">Workers</h2>
      {workers.length === 0 && <p className="muted">No worker is connected: tasks wait.</p>}
      <ul className="workers">
        {workers.map(({ name, running, slots, draining }) => (
          <li key={name}>
            <span>{name}</span>
            <span className="state" data-state={draining ? "waiting" : running ? "running" : "idle"}>
              {draining ? "draining" : running ? "working" : "idle"}
            </span>
            <span className="number">
              {number(running)} of {number(slots)}
            </span>
            {slots <= MAX_SQUARES && (
              <span className="slots" aria-hidden="true">
                {Array.from({ length: slots }, (_, at) => (
                  <i key={at} data-on={at < running} />
                ))}
              </span>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
});

const SECOND_MS = 1_000;

export function Leases({ leases }: { leases: Lease[] }) {
  const { held, hold } = useHeld(leases);
  const now = useNow(SECOND_MS);
  return (
    <section className="panel" aria-labelledby="leases" {...hold}>
      <h2 id="leases">
        Being worked on <small>oldest first</small>
      </h2>
      {held.length === 0 ? (
        <p className="muted">No task is being worked on.</p>
      ) : (
        <div className="scroll leases" tabIndex={0} role="region" aria-label="Leases">
          <table>
            <thead>
              <tr>
                <th scope="col">Task</th>
                <th scope="col">Tenant</th>
                <th scope="col">Model</th>
                <th scope="col">Deployment</th>
                <th scope="col">Worker</th>
                <th scope="col" className="right">
                  Attempt
                </th>
                <th scope="col" className="right">
                  For
                </th>
              </tr>
            </thead>
            <tbody>
              {held.map(({ task, tenant, model, deployment, worker, attempt, since }) => (
                <tr key={task}>
                  <td>
                    <a className="id" href={filterPath({ tenant }, task)}>
                      <span className="unseen">{task.slice(0, -8)}</span>…{task.slice(-8)}
                    </a>
                  </td>
                  <td>{tenant}</td>
                  <td>{model}</td>
                  <td>{deployment ?? ""}</td>
                  <td>{worker}</td>
                  <td className="right number">{attempt}</td>
                  <td className="right number">{span(Math.max(0, now - since))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
