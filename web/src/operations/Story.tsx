// One task's whole story, as a summary, as spans in time, or event by event: each view asks for what it shows, no more.
import type { TaskRecord } from "@tidewire/client";
import { lazy, Suspense, useCallback, useEffect, useState } from "react";
import { CopyButton } from "../parts/CopyButton";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { sentence } from "../parts/words";
import { call, client, told, type Caller } from "../server";
import { Compact } from "./Compact";
import { again, follow } from "./curl";
import { ofTenant } from "./filter";

const Timeline = lazy(() => import("./Timeline"));
const Events = lazy(() => import("./Events"));
const VIEWS = ["compact", "timeline", "events"] as const;
type View = (typeof VIEWS)[number];
// Lives as long as the page: who reads events of one task wants those of the next one.
let last: View = "compact";
// A running task is asked for again so often; its events come by themselves.
const AGAIN_MS = 2_000;

type Props = {
  id: string;
  listed: TaskRecord | undefined;
  tenant: string | undefined;
  who: Caller;
  back: string;
  onTask: (task: TaskRecord) => void;
};

export default function Story({ id, listed, tenant, who, back, onTask }: Props) {
  const [view, setView] = useState<View>(last);
  const { task, error, reload } = useTaskRecord(id, tenant, listed, onTask);
  const ended = task?.ended_at !== undefined;
  const show = (next: View) => setView((last = next));
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) location.hash = back;
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [back]);
  return (
    <section className="inspector story" aria-label="Task">
      <div className="head">
        <h2 className="id">{id}</h2>
        <a className="button small" href={back}>
          Close
        </a>
      </div>
      {error !== undefined && <Fault error={told(error)} />}
      {task && (
        <>
          <div className="row">
            <span className="state" data-state={task.state}>
              {sentence(task.state)}
            </span>
            <Acts task={task} tenant={tenant} may={who.scopes.includes("tasks:stop")} onDone={reload} />
          </div>
          <div className="row views" role="group" aria-label="View">
            {VIEWS.map((one) => (
              <button key={one} type="button" className="small" aria-pressed={view === one} onClick={() => show(one)}>
                {sentence(one)}
              </button>
            ))}
          </div>
          <Suspense fallback={<Skeleton />}>
            {view === "compact" && <Compact task={task} tenant={tenant} />}
            {view === "timeline" && <Timeline id={id} tenant={tenant} ended={ended} />}
            {view === "events" &&
              (tenant ? (
                <p className="note muted">
                  What was asked and answered stays with the tenant <code>{tenant}</code>. The timeline tells the rest.
                </p>
              ) : (
                <Events id={id} onEnd={reload} />
              ))}
          </Suspense>
        </>
      )}
      {!task && error === undefined && <Skeleton lines={4} />}
    </section>
  );
}

function useTaskRecord(
  id: string,
  tenant: string | undefined,
  listed: TaskRecord | undefined,
  onTask: (task: TaskRecord) => void,
) {
  const [found, set] = useState<{ task?: TaskRecord; error?: unknown }>({});
  const [version, bump] = useState(0);
  const reload = useCallback(() => bump((count) => count + 1), []);
  const task = found.task ?? listed;
  const ended = task?.ended_at !== undefined;
  const need = version > 0 || !ended;
  useEffect(() => {
    if (!need) return;
    let left = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = () =>
      call<TaskRecord>(`v1/tasks/${encodeURIComponent(id)}${ofTenant(tenant)}`).then(
        (now) => {
          if (left) return;
          set({ task: now });
          onTask(now);
          if (now.ended_at === undefined) timer = setTimeout(ask, AGAIN_MS);
        },
        (error: unknown) => left || set((before) => ({ ...before, error })),
      );
    void ask();
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [id, tenant, need, version, onTask]);
  return { task, error: found.error, reload };
}

type ActsProps = { task: TaskRecord; tenant: string | undefined; may: boolean; onDone: () => void };

function Acts({ task, tenant, may, onDone }: ActsProps) {
  const [fault, setFault] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const act = (does: () => Promise<unknown>) => {
    setBusy(true);
    setFault(undefined);
    does()
      .then(onDone, setFault)
      .finally(() => setBusy(false));
  };
  const mine = may && !tenant;
  return (
    <span className="row push">
      {fault !== undefined && <span className="chip warn">{told(fault).message}</span>}
      {mine && task.ended_at === undefined && (
        <button
          type="button"
          className="small"
          disabled={busy}
          onClick={() => act(() => client.follow(task.id).stop())}
        >
          Stop
        </button>
      )}
      {mine && task.state === "failed" && !task.retried_as && (
        <button
          type="button"
          className="small"
          disabled={busy}
          onClick={() => act(() => client.follow(task.id).retry())}
        >
          Retry
        </button>
      )}
      <CopyButton what="the task's id" text={() => task.id} />
      {!tenant && <CopyCurl task={task} />}
    </span>
  );
}

/** The request as a command for a terminal. Its input is asked for when it is wanted. */
function CopyCurl({ task }: { task: TaskRecord }) {
  const [said, say] = useState("");
  if (!globalThis.navigator?.clipboard) return null;
  const copy = async () => {
    const whole = await call<TaskRecord>(`v1/tasks/${task.id}?input=true`).catch(() => undefined);
    await navigator.clipboard.writeText(whole?.input ? again(whole) : follow(task.id));
    say("Copied");
  };
  return (
    <button
      type="button"
      className="quiet small"
      title="A command that asks the same again"
      onBlur={() => say("")}
      onClick={() => void copy().catch((error: unknown) => say(told(error).message))}
    >
      {said || "Copy curl"}
    </button>
  );
}
