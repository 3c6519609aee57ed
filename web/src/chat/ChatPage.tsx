// The chat: the list of threads, the open one, and the composer.
import { useCallback, useEffect, useMemo, useState } from "react";
import { random } from "../memory";
import { Fault } from "../parts/Fault";
import { go } from "../router";
import { client } from "../server";
import { ListPanel, OpenList } from "../shell/ListPanel";
import { useModels } from "../shell/models";
import { hasEnded } from "./Answer";
import { Composer } from "./Composer";
import { Empty } from "./Empty";
import { ThreadList } from "./ThreadList";
import { list, open, send, useThreads } from "./threads";
import { branches, pathOf, type Turn } from "./turns";
import { TurnView } from "./TurnView";
import { useFollow } from "./useFollow";
import "./chat.css";

// Turns on the screen at once; earlier ones come on demand, so that a long thread stays as light as a short one.
const SHOWN = 30;

export function ChatPage({ thread }: { thread: string | undefined }) {
  // A new thread has its id before its first message, and goes there with it.
  const [fresh, setFresh] = useState(() => `chat-${random()}`);
  useEffect(() => {
    if (!thread) setFresh(`chat-${random()}`);
  }, [thread]);
  useEffect(() => {
    void list();
  }, []);
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
      <ThreadView key={thread ?? fresh} id={thread ?? fresh} isNew={!thread} />
    </div>
  );
}

function ThreadView({ id, isNew }: { id: string; isNew: boolean }) {
  const { threads, headings, loaded, fault } = useThreads();
  const [chosen, setChosen] = useState<Record<string, string>>({});
  const [editing, setEditing] = useState<Turn>();
  const [draft, setDraft] = useState<{ text: string; at: number }>();
  const [shown, setShown] = useState(SHOWN);
  const { model, choose: chooseModel, names } = useModels();
  const turns = useMemo(() => [...(threads.get(id)?.values() ?? [])], [threads, id]);
  const path = useMemo(() => pathOf(turns, chosen), [turns, chosen]);
  const byAfter = useMemo(() => branches(turns), [turns]);
  const { scroller, follows, toEnd } = useFollow(id);
  useEffect(() => {
    if (isNew) return;
    void open(id);
    // Another device may have gone on meanwhile.
    const back = () => {
      if (!document.hidden) void open(id);
    };
    document.addEventListener("visibilitychange", back);
    return () => document.removeEventListener("visibilitychange", back);
  }, [id, isNew]);

  const say = (prompt: string) => {
    const sent = send(id, prompt, model, editing ? editing.after : path.at(-1)?.id);
    setChosen((now) => ({ ...now, [sent.after ?? ""]: sent.id }));
    setEditing(undefined);
    if (isNew) go("chat", id);
    requestAnimationFrame(toEnd);
  };
  const edit = useCallback((turn: Turn) => {
    setEditing(turn);
    setDraft({ text: turn.prompt, at: Date.now() });
  }, []);
  const choose = useCallback((after: string, branch: string) => setChosen((now) => ({ ...now, [after]: branch })), []);
  const acts = useMemo(() => ({ edit, choose }), [edit, choose]);
  const cancel = () => {
    setEditing(undefined);
    setDraft({ text: "", at: Date.now() });
  };
  const stopNewest = () => {
    const task = path.findLast((turn) => turn.task && !hasEnded(client.follow(turn.task).snapshot.status))?.task;
    if (task)
      void client
        .follow(task)
        .stop()
        .catch(() => {});
  };
  const title = isNew ? "New chat" : (headings.find((one) => one.id === id)?.title ?? "Chat");
  const visible = path.slice(-shown);
  return (
    <div className="content">
      <header className="head">
        <OpenList />
        <h1>{title}</h1>
        {names.length > 1 && (
          <label className="pick">
            <span className="unseen">Model</span>
            <select id="model" value={model} onChange={(event) => chooseModel(event.target.value)}>
              {names.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
      </header>
      <main ref={scroller} className="scroll" tabIndex={0} aria-label="Conversation" aria-live="off">
        <div className="column turns">
          {path.length > shown && (
            <button type="button" className="small earlier" onClick={() => setShown(shown + SHOWN)}>
              Show {Math.min(SHOWN, path.length - shown)} earlier
            </button>
          )}
          {fault && !isNew && path.length === 0 && (
            <Fault error={fault}>
              <button type="button" className="small" onClick={() => void open(id)}>
                Retry
              </button>
            </Fault>
          )}
          {visible.map((turn) => (
            <TurnView
              key={turn.id}
              turn={turn}
              siblings={byAfter.get(turn.after && byAfter.has(turn.after) ? turn.after : "") ?? []}
              acts={acts}
            />
          ))}
          {path.length === 0 && (isNew || (loaded.has(id) && !fault)) && <Empty model={model} onAsk={say} />}
        </div>
      </main>
      <section className="foot" aria-label="Write">
        {!follows && (
          <button type="button" className="chip latest" onClick={toEnd}>
            Latest <span aria-hidden="true">↓</span>
          </button>
        )}
        <Composer
          thread={isNew ? "new" : id}
          draft={draft}
          editing={editing !== undefined}
          onSend={say}
          onCancel={cancel}
          onStop={stopNewest}
        />
      </section>
    </div>
  );
}
