// A task's spans in time, as its trace tells them: where the wait was.
import { useEffect, useState } from "react";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { sentence } from "../parts/words";
import { call, told } from "../server";
import { wait } from "./figures";
import { ofTenant } from "./filter";
import { ladder, type Trace } from "./spans";

const AGAIN_MS = 2_000;

export default function Timeline({ id, tenant, ended }: { id: string; tenant: string | undefined; ended: boolean }) {
  const [found, set] = useState<{ trace?: Trace; error?: unknown }>({});
  useEffect(() => {
    let left = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = () =>
      call<Trace>(`v1/tasks/${id}/trace${ofTenant(tenant)}`).then(
        (trace) => {
          if (left) return;
          set({ trace });
          if (!ended) timer = setTimeout(ask, AGAIN_MS);
        },
        (error: unknown) => left || set((before) => ({ ...before, error })),
      );
    void ask();
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [id, tenant, ended]);
  const { trace, error } = found;
  if (error !== undefined) return <Fault error={told(error)} />;
  if (!trace) return <Skeleton />;
  const { rows, total_ms } = ladder(trace);
  return (
    <div className="timeline">
      <p className="muted number">
        {wait(total_ms)} in all · trace <span className="id">{trace.trace_id}</span>
      </p>
      <ol>
        {rows.map(({ span, depth, from, wide, at_ms, took_ms }) => (
          <li key={span.id} data-status={span.status}>
            <details>
              <summary>
                <span className="name" style={{ paddingLeft: depth * 12 }}>
                  {sentence(span.name.replaceAll("_", " "))}
                  {span.status !== "ok" && <span className="code"> {span.status.replace("_", " ")}</span>}
                </span>
                <span className="number muted">{wait(took_ms)}</span>
                <span className="lane" aria-hidden="true">
                  <i data-part={span.part} style={{ left: `${from * 100}%`, width: `${wide * 100}%` }} />
                </span>
              </summary>
              <dl className="pairs">
                <div>
                  <dt>Begins after</dt>
                  <dd className="number">{wait(at_ms)}</dd>
                </div>
                <div>
                  <dt>Offset</dt>
                  <dd className="number">{span.offset}</dd>
                </div>
                {span.message && (
                  <div>
                    <dt>Message</dt>
                    <dd>{span.message}</dd>
                  </div>
                )}
                {Object.entries(span.attributes).map(([name, value]) => (
                  <div key={name}>
                    <dt>{name.replace(/^(tidewire|gen_ai)\./, "")}</dt>
                    <dd>{String(value)}</dd>
                  </div>
                ))}
              </dl>
            </details>
          </li>
        ))}
      </ol>
    </div>
  );
}
