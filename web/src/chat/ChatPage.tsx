// The chat: the list of threads, the open one, and the composer.
import { lazy, Suspense, useCallback, useEffect, useMemo, useState } from "react";
import { random } from "../memory";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { go } from "../router";
import { client } from "../server";
import { ListPanel, OpenList } from "../shell/ListPanel";
import { useModels } from "../shell/models";
import { hasEnded } from "./Answer";
import { useAsking } from "./asking";
import { Composer } from "./Composer";
import { Empty } from "./Empty";
import { ThreadList } from "./ThreadList";
import { listen, open, pick, send, useThreads } from "./threads";
import { pathOf, type Turn } from "./turns";
import { TurnView } from "./TurnView";
import { useFollow } from "./useFollow";
import { useWindow } from "./useWindow";
import "./chat.css";

const Options = lazy(() => import("./Options"));
const Panes = lazy(() => import("./Panes"));

export function ChatPage({ thread }: { thread: string | undefined }) {
  // A new thread has its id before its first message, and goes there with it.
  const [fresh, setFresh] = useState({ id: `chat-${random()}`, after: thread });
  if (fresh.after !== thread) setFresh({ id: thread ? fresh.id : `chat-${random()}`, after: thread });
  useEffect(() => listen(thread), [thread]);
  return (
    <div className="page">
      <ListPanel
        title="Chats"
        action={
          <button type="button" className="small" onClick={() => go("chat")}>
            New
          </button>
        }
      >
        <ThreadList current={thread} />
      </ListPanel>
      <ThreadView key={thread ?? fresh.id} id={thread ?? fresh.id} isNew={!thread} />
    </div>
  );
}

function ThreadView({ id, isNew }: { id: string; isNew: boolean }) {
  const { threads, headings, loaded, fault, picks } = useThreads();
  const [choice, setChoice] = useState<Record<string, string>>({});
  const [editing, setEditing] = useState<Turn>();
  const [draft, setDraft] = useState<{ text: string; at: number }>();
  const { model } = useModels();
  const { beside } = useAsking();
  const turns = useMemo(() => [...(threads.get(id)?.values() ?? [])], [threads, id]);
  const path = useMemo(() => pathOf(turns, { ...choice, ...picks }), [turns, choice, picks]);
  const { scroller, follows, toEnd } = useFollow(id);
  const { shown, earlier, later, move, reset } = useWindow(path, scroller);
  const toLatest = () => {
    reset();
    requestAnimationFrame(toEnd);
  };
  useEffect(() => {
    if (isNew) return;
    void open(id);
  }, [id, isNew]);

  const choose = useCallback((after: string, branch: string) => setChoice((now) => ({ ...now, [after]: branch })), []);
  const last = path.at(-1);
  const say = (prompt: string) => {
    // What is sent below answers side by side goes on with one of them: with the first, where none was picked.
    if (!editing && last?.panes && !last.picked) pick(last.version, last.turn.id);
    const models = beside.length > 1 ? beside : [model];
    const sent = send(id, prompt, models, editing ? editing.after : last?.turn.id);
    choose(sent.after ?? "", sent.beside?.id ?? sent.id);
    setEditing(undefined);
    if (isNew) go("chat", id);
    toLatest();
  };
  const edit = useCallback((turn: Turn) => {
    setEditing(turn);
    setDraft({ text: turn.prompt, at: Date.now() });
  }, []);
  const acts = useMemo(() => ({ edit, choose }), [edit, choose]);
  const cancel = () => {
    setEditing(undefined);
    setDraft({ text: "", at: Date.now() });
  };
  const stopNewest = () => {
    const live = (turn: Turn) => turn.task && !hasEnded(client.follow(turn.task).snapshot.status);
    const step = path.findLast(({ turn, panes }) => (panes?.flat() ?? [turn]).some(live));
    for (const { task } of (step?.panes?.flat() ?? (step ? [step.turn] : [])).filter(live))
      void client
        .follow(task!)
        .stop()
        .catch(() => {});
  };
  const title = isNew ? "New chat" : (headings.find((one) => one.id === id)?.title ?? "Chat");
  return (
    <div className="content">
      <header className="head">
        <OpenList />
        <h1>{title}</h1>
        <Pick />
      </header>
      <main
        ref={scroller}
        className="scroll"
        data-follows={follows}
        tabIndex={0}
        aria-label="Conversation"
        aria-live="off"
      >
        <div className="turns">
          {earlier > 0 && (
            <button type="button" className="small earlier" onClick={() => move(true)}>
              Show {earlier} earlier
            </button>
          )}
          {fault && !isNew && path.length === 0 && (
            <div className="column">
              <Fault error={fault}>
                <button type="button" className="small" onClick={() => void open(id)}>
                  Retry
                </button>
              </Fault>
            </div>
          )}
          {shown.map((step) =>
            step.panes ? (
              <Suspense key={step.version} fallback={<Skeleton />}>
                <Panes step={step} acts={acts} />
              </Suspense>
            ) : (
              <TurnView key={step.version} {...step} acts={acts} />
            ),
          )}
          {later > 0 && (
            <button type="button" className="small earlier" onClick={() => move(false)}>
              Show {later} later
            </button>
          )}
          {path.length === 0 && (isNew || (loaded.has(id) && !fault)) && <Empty model={model} onAsk={say} />}
        </div>
      </main>
      <section className="foot" aria-label="Write">
        {(!follows || later > 0) && (
          <button type="button" className="chip latest" onClick={toLatest}>
            Latest <span aria-hidden="true">↓</span>
          </button>
        )}
        <Composer
          thread={isNew ? "new" : id}
          draft={draft}
          editing={editing !== undefined}
          hint={!editing && last?.panes && !last.picked ? "Message (goes on with answer 1)" : "Message"}
          onSend={say}
          onCancel={cancel}
          onStop={stopNewest}
        />
      </section>
    </div>
  );
}

/** Which model is asked, and how. */
function Pick() {
  const { model, choose, names } = useModels();
  const { beside, sure } = useAsking();
  const [used, setUsed] = useState(false);
  const several = beside.length > 1;
  return (
    <>
      {names.length > 1 && !several && (
        <label className="pick">
          <span className="unseen">Model</span>
          <select id="model" value={model} onChange={(event) => choose(event.target.value)}>
            {names.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      )}
      <button
        type="button"
        className="options"
        popoverTarget="options"
        aria-label={`How to ask${several ? `: ${beside.length} at once` : ""}${sure ? ", with how sure the model is" : ""}`}
        data-on={several || sure}
        onClick={() => setUsed(true)}
      >
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path
            d={
              several
                ? "M1.5 2.5h13v11h-13z M8 2.5v11" + (beside.length > 2 ? " M1.5 8h13" : "")
                : "M1.5 4.5h7 M12.5 4.5h2 M1.5 11.5h2 M7.5 11.5h7 M8.5 2.5h4v4h-4z M3.5 9.5h4v4h-4z"
            }
          />
        </svg>
        {several && <span className="number">{beside.length} at once</span>}
      </button>
      <div id="options" popover="auto" role="dialog" aria-label="How to ask">
        <Suspense fallback={<Skeleton />}>{used && <Options />}</Suspense>
      </div>
    </>
  );
}
