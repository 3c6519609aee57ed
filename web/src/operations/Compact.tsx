// A task in a few lines: who asked what, when, what came of it, and what it cost.
import type { TaskRecord } from "@tidewire/client";
import { useEffect, useState } from "react";
import { Fault } from "../parts/Fault";
import { number, sentence } from "../parts/words";
import { call } from "../server";
import { filterPath } from "./filter";
import { moment, span, usd, wait } from "./figures";

// Enough to know an answer again; the whole of it is among the events.
const TEXT_CHARS = 2_000;

export function Compact({ task, tenant }: { task: TaskRecord; tenant: string | undefined }) {
  const { submitted_at, ended_at } = task;
  const end = task.end as
    (NonNullable<TaskRecord["end"]> & Partial<{ cache: { state: string }; deployment: string }>) | undefined;
  const usage = (end?.usage ?? {}) as Record<string, number | boolean | undefined>;
  const cost = (usage.cost_usd as number | undefined) ?? (Number(usage.cost_nanousd ?? 0) / 1e9 || undefined);
  const tokens = end
    ? `${number(Number(usage.input_tokens ?? 0))} in, ${number(Number(usage.output_tokens ?? 0))} out${usage.estimated ? ", an estimate" : ""}`
    : undefined;
  const pairs: [string, React.ReactNode][] = [
    ["Model", task.model],
    ["Tenant", tenant ?? (task.tenant as string | undefined)],
    ["User", task.user as string | undefined],
    ["Submitted", moment(submitted_at)],
    ["Took", ended_at ? wait(ended_at - submitted_at) : `${span(Date.now() - submitted_at)} so far`],
    ["Deployment", end?.deployment],
    ["Attempts", `${number(task.attempts as number)} of ${number(task.max_attempts as number)}`],
    ["Tokens", tokens],
    ["Cost", cost === undefined ? undefined : usd(cost)],
    ["Kept answer", end?.cache && sentence(end.cache.state)],
    ["Finish reason", end?.finish_reason as string | undefined],
    ["Place in line", task.place === undefined ? undefined : number(task.place as number)],
    ["Priority", task.priority as string | undefined],
    ["Durability", task.durability as string],
    ["Lane", task.lane as string | undefined],
    ["Batch", task.batch as string | undefined],
    ["Deadline", moment(task.deadline as number)],
    ["Tries again", task.retry_of ? <Other id={task.retry_of as string} /> : undefined],
    ["Tried again as", task.retried_as ? <Other id={task.retried_as as string} /> : undefined],
  ];
  return (
    <div className="compact">
      {end?.error && <Fault error={end.error} />}
      <dl className="pairs">
        {pairs.map(([name, value]) =>
          value === undefined || value === null || value === "" ? null : (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ),
        )}
      </dl>
      {tenant ? (
        <p className="muted">What was asked and answered stays with its tenant.</p>
      ) : (
        <Text id={task.id} ended={ended_at !== undefined} />
      )}
    </div>
  );
}

const Other = ({ id }: { id: string }) => (
  <a className="id" href={filterPath({}, id)}>
    {id}
  </a>
);

function Text({ id, ended }: { id: string; ended: boolean }) {
  const [text, setText] = useState<string>();
  useEffect(() => {
    let left = false;
    call<string>(`v1/tasks/${id}/text`).then(
      (found) => left || setText(found),
      () => left || setText(""),
    );
    return () => {
      left = true;
    };
  }, [id, ended]);
  if (!text) return null;
  return (
    <>
      <h3>Answer</h3>
      <p className="answer-text">
        {text.slice(0, TEXT_CHARS)}
        {text.length > TEXT_CHARS && (
          <span className="muted"> … {number(text.length - TEXT_CHARS)} more characters</span>
        )}
      </p>
    </>
  );
}
