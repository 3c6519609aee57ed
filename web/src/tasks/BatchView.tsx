// A batch: one header for all of it, a row for each task, and the task that is looked at beside them.
import type { BatchSnapshot, TaskRecord } from "@tidewire/client";
import { useBatch } from "@tidewire/react";
import { useEffect, useMemo, useState } from "react";
import { Fault } from "../parts/Fault";
import { Rows } from "../parts/Rows";
import { Skeleton } from "../parts/Skeleton";
import { number, sentence } from "../parts/words";
import { go } from "../router";
import { call, client, told } from "../server";
import { OpenList } from "../shell/ListPanel";
import { csv } from "./csv";
import { results, save } from "./export";
import { Inspector } from "./Inspector";
import { TaskRow } from "./TaskRow";
import { records, useRecords } from "./useRecords";

const FILTERS = ["", "running", "queued", "done", "failed", "stopped"];
const ALL_PAGES = 100;

export function BatchView({ id, title }: { id: string; title: string }) {
  const snapshot = useBatch(id);
  const [filter, setFilter] = useState("");
  const [looked, setLooked] = useState<{ id: string; title: string }>();
  const [retried, setRetried] = useState<Record<string, string>>({});
  const { done, failed, stopped } = snapshot;
  // Without a filter the rows are the batch's own; the list only has their titles, which do not change.
  const { found, error } = useRecords(id, filter, filter ? done + failed + stopped : 0);
  const byId = useMemo(() => new Map(found?.map((record) => [record.id, record])), [found]);
  const ids = useMemo(
    () => (filter ? (found ?? []).map(({ id: one }) => one) : snapshot.tasks.map(({ id: one }) => one)),
    [filter, found, snapshot.tasks],
  );
  const current = (task: string) => retried[task] ?? (byId.get(task)?.retried_as as string | undefined) ?? task;
  const retry = async (task: string) => {
    const next = await client.follow(task).retry();
    setRetried((before) => ({ ...before, [task]: next.id }));
  };
  return (
    <div className={`content batch ${looked ? "inspected" : ""}`}>
      <header className="head">
        <OpenList />
        <h1>{title}</h1>
        <BatchActs snapshot={snapshot} title={title} />
      </header>
      <main className="body">
        <div className="main-rows">
          <Progress snapshot={snapshot} />
          <div className="filters row" role="group" aria-label="Filter">
            {FILTERS.map((state) => (
              <button
                key={state}
                type="button"
                className="small"
                aria-pressed={filter === state}
                onClick={() => setFilter(state)}
              >
                {sentence(state) || "All"}
              </button>
            ))}
          </div>
          {error && <Fault error={error} />}
          {ids.length === 0 &&
            (found ? (
              <p className="note muted">{filter ? `No task is ${filter} now.` : "This batch has no tasks any more."}</p>
            ) : (
              <div className="note">
                <Skeleton />
              </div>
            ))}
          <Rows
            count={ids.length}
            label="Tasks"
            row={(at) => {
              const task = current(ids[at]!);
              const name = nameOf(byId.get(ids[at]!)) ?? `Task ${at + 1}`;
              return (
                <TaskRow
                  key={task}
                  id={task}
                  title={name}
                  looked={looked?.id === task}
                  onLook={() => setLooked({ id: task, title: name })}
                  onRetry={() => retry(ids[at]!)}
                />
              );
            }}
          />
        </div>
        {looked && <Inspector key={looked.id} {...looked} onClose={() => setLooked(undefined)} />}
      </main>
    </div>
  );
}

const nameOf = (record: TaskRecord | undefined) =>
  typeof record?.metadata?.title === "string" ? record.metadata.title : undefined;

function Progress({ snapshot }: { snapshot: BatchSnapshot }) {
  const { total, done, failed, stopped } = snapshot;
  const open = total - done - failed - stopped;
  const known = useRunning(snapshot);
  const running = Math.min(open, known ?? 0);
  const part = (count: number) => ({ flexGrow: count });
  const words = [
    `${number(done)} done`,
    running && `${number(running)} running`,
    open > running && `${number(open - running)} ${known === undefined ? "open" : "queued"}`,
    failed && `${number(failed)} failed`,
    stopped && `${number(stopped)} stopped`,
  ]
    .filter(Boolean)
    .join(", ");
  return (
    <div className="progress">
      <p className="number" id="counts">
        <strong>{number(total)}</strong>: {words}
      </p>
      <div className="bar" aria-hidden="true">
        <i data-state="done" style={part(done)} />
        <i data-state="failed" style={part(failed)} />
        <i data-state="stopped" style={part(stopped)} />
        <i data-state="open" style={part(open || (total ? 0 : 1))} />
      </div>
      {snapshot.error && <p className="muted">{snapshot.error.message}</p>}
    </div>
  );
}

// The batch's log tells what has ended. What runs is asked for while somebody looks.
const LOOK_MS = 2_000;

/** Nothing before the first answer. */
function useRunning({ id, status }: BatchSnapshot): number | undefined {
  const [running, set] = useState<number>();
  useEffect(() => {
    if (status !== "running") return;
    const look = () => {
      if (!document.hidden)
        call<{ running: number }>(`v1/tasks/batch/${id}`).then(
          (now) => set(now.running),
          () => {},
        );
    };
    look();
    const timer = setInterval(look, LOOK_MS);
    return () => clearInterval(timer);
  }, [id, status]);
  return running;
}

function BatchActs({ snapshot, title }: { snapshot: BatchSnapshot; title: string }) {
  const [busy, setBusy] = useState("");
  const [fault, setFault] = useState("");
  const { id, status, failed, done, stopped, total } = snapshot;
  const act = async (what: string, does: () => Promise<unknown>) => {
    setBusy(what);
    setFault("");
    await does().catch((error: unknown) => setFault(told(error).message));
    setBusy("");
  };
  const out = (kind: "csv" | "json") =>
    act("Exporting", async () => {
      const place = new Map(snapshot.tasks.map((task, at) => [task.id, at]));
      const all = (await records(id, undefined, ALL_PAGES)).sort(
        (one, other) => (place.get(one.id) ?? 0) - (place.get(other.id) ?? 0),
      );
      const rows = await results(all, (count) => setBusy(`${number(count)} of ${number(all.length)}`));
      const name = title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "batch";
      if (kind === "csv") save(`${name}.csv`, "text/csv", csv(rows));
      else save(`${name}.json`, "application/json", JSON.stringify(rows, null, 1));
    });
  return (
    <div className="row acts">
      {fault && <span className="chip warn">{fault}</span>}
      {busy && (
        <span className="muted number" role="status">
          {busy}
        </span>
      )}
      {status === "running" && (
        <button
          type="button"
          className="small"
          disabled={busy !== ""}
          onClick={() => act("Stopping", () => client.followBatch(id).stop())}
        >
          Stop all
        </button>
      )}
      {failed > 0 && status !== "running" && (
        <button
          type="button"
          className="small"
          disabled={busy !== ""}
          onClick={() => act("Retrying", async () => go("tasks", (await client.followBatch(id).retry()).id))}
        >
          Retry {number(failed)} failed
        </button>
      )}
      <button
        type="button"
        className="quiet small"
        disabled={busy !== "" || done + failed + stopped === 0 || total === 0}
        onClick={() => out("csv")}
      >
        CSV
      </button>
      <button
        type="button"
        className="quiet small"
        disabled={busy !== "" || done + failed + stopped === 0 || total === 0}
        onClick={() => out("json")}
      >
        JSON
      </button>
    </div>
  );
}
