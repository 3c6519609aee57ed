// The explorer: every task that a filter finds, newest first, and the whole story of the one that is open.
import type { TaskRecord } from "@tidewire/client";
import { lazy, memo, Suspense, useCallback, useMemo, type KeyboardEvent } from "react";
import { Fault } from "../parts/Fault";
import { Rows } from "../parts/Rows";
import { Skeleton } from "../parts/Skeleton";
import { number, sentence } from "../parts/words";
import { told, type Caller } from "../server";
import { moment, usd, wait } from "./figures";
import { asked, filterPath, read, type Filter } from "./filter";
import { Filters } from "./Filters";
import { useList, MAX_ROWS } from "./list";

const Story = lazy(() => import("./Story"));
const ROW_PX = 48;
const FIELDS = ["state", "model", "within", "q", "user", "code"] as const;

export default function Requests({ who, rest: [text, task] }: { who: Caller; rest: string[] }) {
  const operator = who.scopes.includes("admin:read");
  const filter = useMemo(() => read(text), [text]);
  const narrow = useCallback((to: Filter) => location.replace(filterPath(to, task)), [task]);
  const { rows, error, busy, more, again, patch } = useList("v1/tasks", () => asked(filter, Date.now()), text ?? "");
  const open = rows?.find(({ id }) => id === task);
  return (
    <main className={`explorer ${task ? "inspected" : ""}`}>
      <div className="main-rows" onKeyDown={step}>
        <Filters filter={filter} onChange={narrow} fields={operator ? [...FIELDS, "tenant"] : FIELDS}>
          <span className="muted number push" role="status">
            {rows ? `${number(rows.length)}${more ? "+" : ""} ${rows.length === 1 ? "task" : "tasks"}` : ""}
          </span>
          <button type="button" className="quiet small" disabled={busy} onClick={again}>
            Refresh
          </button>
        </Filters>
        {Boolean(error) && (
          <Fault error={told(error)} {...(rows?.length ? { kept: "The rows below are the last that came." } : {})}>
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
            No task is found by this filter. Tasks appear here once they are submitted:{" "}
            <code>tidewire submit "Hello"</code>
          </p>
        )}
        <Rows
          count={rows?.length ?? 0}
          label="Tasks"
          px={ROW_PX}
          onEnd={more}
          row={(at) => {
            const one = rows![at]!;
            return (
              <Row
                key={one.id}
                task={one}
                looked={one.id === task}
                href={filterPath(filter, one.id)}
                own={who.tenant}
              />
            );
          }}
        />
        {(rows?.length ?? 0) >= MAX_ROWS && <p className="note muted">Narrow the filter to see older ones.</p>}
      </div>
      {task && (
        <Suspense fallback={<section className="inspector" />}>
          <Story
            key={task}
            id={task}
            listed={open}
            tenant={(open?.tenant as string | undefined) ?? other(filter.tenant, who.tenant)}
            who={who}
            back={filterPath(filter)}
            onTask={patch}
          />
        </Suspense>
      )}
    </main>
  );
}

/** The arrows go from row to row, as in any list. */
function step(event: KeyboardEvent<HTMLElement>) {
  const by = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key] as
    "nextElementSibling" | "previousElementSibling" | undefined;
  const row = by && (event.target as Element).closest(".rows li")?.[by]?.querySelector("a");
  if (!row) return;
  event.preventDefault();
  row.focus();
}

/** Whose tasks are looked at, where they are not the caller's own. */
const other = (asked: string | undefined, own: string) =>
  asked && asked !== "all" && asked !== own ? asked : undefined;

const Row = memo(function Row({
  task,
  looked,
  href,
  own,
}: {
  task: TaskRecord;
  looked: boolean;
  href: string;
  own: string;
}) {
  const { id, state, model, submitted_at, ended_at, end } = task;
  const tenant = task.tenant as string | undefined;
  const usage = end?.usage as { output_tokens?: number; cost_nanousd?: number; cost_usd?: number } | undefined;
  const cost = usage?.cost_usd ?? (usage?.cost_nanousd === undefined ? undefined : usage.cost_nanousd / 1e9);
  const code = end?.error?.code;
  return (
    <a className="request" href={href} aria-current={looked ? "true" : undefined} data-state={state}>
      <span className="when number">{moment(submitted_at)}</span>
      <span className="state" data-state={state}>
        {sentence(state)}
      </span>
      <span className="what">
        {model}
        {tenant && tenant !== own && <span className="muted"> · {tenant}</span>}
        {code && <span className="code"> {code}</span>}
      </span>
      <span className="number took">{ended_at ? wait(ended_at - submitted_at) : ""}</span>
      <span className="number tokens muted">{usage ? `${number(usage.output_tokens ?? 0)} tokens` : ""}</span>
      <span className="number cost muted">{cost ? usd(cost) : ""}</span>
      <span className="id muted">…{id.slice(-8)}</span>
    </a>
  );
});
