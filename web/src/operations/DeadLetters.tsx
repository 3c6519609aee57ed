// Tasks that failed and were not tried again: why, and another try for one of them or for all that a filter finds.
import type { TaskRecord } from "@tidewire/client";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Fault } from "../parts/Fault";
import { Rows } from "../parts/Rows";
import { Skeleton } from "../parts/Skeleton";
import { number, sentence } from "../parts/words";
import { at } from "../router";
import { call, client, told, type Caller } from "../server";
import { Dialog } from "./Dialog";
import { moment } from "./figures";
import { asked, filterPath, read, write, type Filter } from "./filter";
import { Filters } from "./Filters";
import { useList } from "./list";
import { retryAll, type Answer, type Progress } from "./retry";

const ROW_PX = 56;
const FIELDS = ["model", "within", "code"] as const;
// More reasons than this are one reason.
const MAX_REFUSED = 100;

export default function DeadLetters({ who, rest: [text] }: { who: Caller; rest: string[] }) {
  const operator = who.scopes.includes("admin:read");
  const filter = useMemo(() => read(text), [text]);
  const narrow = useCallback((to: Filter) => location.replace(at("operations", "dead-letters", write(to))), []);
  const { rows, error, busy, more, again } = useList("v1/dead-letters", () => asked(filter, Date.now()), text ?? "");
  // A retry belongs to the caller's own tenant.
  const foreign = Boolean(filter.tenant && filter.tenant !== who.tenant);
  const may = who.scopes.includes("tasks:stop") && !foreign;
  return (
    <main className="explorer">
      <div className="main-rows">
        <Filters filter={filter} onChange={narrow} fields={operator ? [...FIELDS, "tenant"] : FIELDS}>
          <span className="muted number push" role="status">
            {rows ? `${number(rows.length)}${more ? "+" : ""} dead ${rows.length === 1 ? "letter" : "letters"}` : ""}
          </span>
          <button type="button" className="quiet small" disabled={busy} onClick={again}>
            Refresh
          </button>
        </Filters>
        {may && <RetryAll filter={filter} some={Boolean(rows?.length)} onDone={again} />}
        {foreign && (
          <p className="note muted">Another tenant's letters are looked at here, and tried again by that tenant.</p>
        )}
        {Boolean(error) && (
          <Fault error={told(error)}>
            <button type="button" className="small" onClick={again}>
              Retry
            </button>
          </Fault>
        )}
        {!rows && !error && (
          <div className="note">
            <Skeleton lines={4} />
          </div>
        )}
        {rows?.length === 0 && !error && (
          <p className="note muted">
            {text && text !== "all"
              ? "No dead letter is found by this filter."
              : "No task has failed for good. One whose last attempt fails waits here to be tried again."}
          </p>
        )}
        <Rows
          count={rows?.length ?? 0}
          label="Dead letters"
          px={ROW_PX}
          onEnd={more}
          row={(index) => <Letter key={rows![index]!.id} letter={rows![index]!} may={may} />}
        />
      </div>
    </main>
  );
}

function Letter({ letter, may }: { letter: TaskRecord; may: boolean }) {
  const [next, setNext] = useState<string>();
  const [fault, setFault] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const { id, model, submitted_at, ended_at, end, attempts } = letter;
  const tenant = letter.tenant as string | undefined;
  const retry = () => {
    setBusy(true);
    setFault(undefined);
    client
      .follow(id)
      .retry()
      .then((task) => setNext(task.id), setFault)
      .finally(() => setBusy(false));
  };
  return (
    <div className="letter" data-task={id}>
      <span className="when number">{moment(ended_at ?? submitted_at)}</span>
      <a href={filterPath(tenant ? { tenant } : {}, id)}>
        <span className="what">
          {model}
          {tenant && <span className="muted"> · {tenant}</span>}
          <span className="code"> {end?.error?.code}</span>
        </span>
        <span className="why muted">
          {sentence(fault === undefined ? (end?.error?.message ?? "") : told(fault).message)}
        </span>
      </a>
      <span className="number muted tries">
        {String(attempts)} {attempts === 1 ? "attempt" : "attempts"}
      </span>
      <span className="does">
        {next ? (
          <a href={filterPath({}, next)}>Tried again</a>
        ) : (
          may && (
            <button type="button" className="quiet small" aria-label={`Retry ${id}`} disabled={busy} onClick={retry}>
              Retry
            </button>
          )
        )}
      </span>
    </div>
  );
}

type AllProps = { filter: Filter; some: boolean; onDone: () => void };

function RetryAll({ filter, some, onDone }: AllProps) {
  const [asking, setAsking] = useState(false);
  const [progress, setProgress] = useState<Progress>();
  const [running, setRunning] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const stop = useRef(new AbortController());
  useEffect(() => () => stop.current.abort(), []);
  const run = () => {
    setAsking(false);
    setRunning(true);
    setFault(undefined);
    setProgress({ retried: 0, refused: [] });
    stop.current = new AbortController();
    const { model, code, since, until } = asked(filter, Date.now());
    const body = { model, code, since: since && Number(since), until: until && Number(until) };
    retryAll(body, stop.current.signal, setProgress, (json) => call<Answer>("v1/dead-letters/retry", { json }))
      .then(setProgress, setFault)
      .finally(() => {
        setRunning(false);
        onDone();
      });
  };
  const words = [filter.model && `of ${filter.model}`, filter.code && `with ${filter.code}`].filter(Boolean).join(" ");
  return (
    <div className="retry-all">
      <div className="row">
        {running ? (
          <button type="button" className="small" onClick={() => stop.current.abort()}>
            Stop here
          </button>
        ) : (
          <button type="button" className="small" disabled={!some} onClick={() => setAsking(true)}>
            Retry all {words || "dead letters"}
          </button>
        )}
        {progress && (
          <span className="number" role="status">
            {number(progress.retried)} tried again
            {progress.refused.length ? `, ${number(progress.refused.length)} refused` : ""}
            {progress.waitsMs !== undefined
              ? `; waiting ${Math.ceil(progress.waitsMs / 1000)} s for room`
              : running
                ? " so far"
                : "."}
          </span>
        )}
      </div>
      {fault !== undefined && <Fault error={told(fault)} kept="What was tried again by then stays so." />}
      {progress && progress.refused.length > 0 && (
        <details className="refused">
          <summary>What was refused</summary>
          <ul>
            {progress.refused.slice(0, MAX_REFUSED).map(({ task, error }) => (
              <li key={task}>
                <a className="id" href={filterPath({}, task)}>
                  …{task.slice(-8)}
                </a>{" "}
                {sentence(error.message)} <code>{error.code}</code>
              </li>
            ))}
          </ul>
        </details>
      )}
      {asking && (
        <Dialog
          title={`Retry all ${words || "dead letters"}?`}
          onClose={() => setAsking(false)}
          onSubmit={run}
          acts={
            <>
              <button type="button" onClick={() => setAsking(false)}>
                Leave them
              </button>
              <button type="submit" className="main">
                Retry all
              </button>
            </>
          }
        >
          <p>Each becomes a new task that asks for the same, and costs what it costs. It can be stopped on the way.</p>
        </Dialog>
      )}
    </div>
  );
}
