// The frame around every page: the rail, the page, the strip, and what is asked of a person before any of it.
import { lazy, Suspense, useCallback, useEffect, useState } from "react";
import { ChatPage } from "./chat/ChatPage";
import { begin } from "./chat/threads";
import { Skeleton } from "./parts/Skeleton";
import { usePlace } from "./router";
import { useSaid } from "./say";
import { session, told, type Caller } from "./server";
import { SignIn } from "./session/SignIn";
import { Offline } from "./shell/Offline";
import { loadModels } from "./shell/models";
import { Rail } from "./shell/Rail";
import { StatusStrip } from "./shell/StatusStrip";

const TasksPage = lazy(() => import("./tasks/TasksPage"));
const operations = () => import("./operations/OperationsPage");
const OperationsPage = lazy(operations);
// Who comes straight to it need not wait for it until the server has said who they are.
if (location.hash.startsWith("#/operations")) void operations();
const Palette = lazy(() => import("./shell/Palette"));

// A session is looked for before the first page, so that nobody sees a page that they may not use.
type Session = "asking" | "needed" | Caller;
let begun = false;

export function App() {
  const [who, setWho] = useState<Session>("asking");
  const enter = useCallback((caller: Caller) => {
    setWho(caller);
    void loadModels();
    if (!begun) begin();
    begun = true;
  }, []);
  useEffect(() => {
    session.who().then(enter, (error: unknown) => {
      const { code } = told(error);
      if (["unauthorized", "key_revoked", "key_expired", "http_401"].includes(code)) setWho("needed");
      // A server that can't be reached now is said so by the strip.
      else enter({ name: "", tenant: "", scopes: [] });
    });
  }, [enter]);
  if (who === "needed") return <SignIn onEnter={enter} />;
  return <Frame who={who === "asking" ? undefined : who} onLeave={() => setWho("needed")} />;
}

// Whoever has one of these finds something among the operations' pages.
const OPERATIONS = ["admin:read", "tasks:read"];

function Frame({ who, onLeave }: { who: Caller | undefined; onLeave: () => void }) {
  const [page = "", ...rest] = usePlace();
  const [palette, setPalette] = useState(false);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      setPalette((open) => !open);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  return (
    <div className="shell">
      <Rail
        page={page === "tasks" || page === "operations" ? page : "chat"}
        operations={OPERATIONS.some((scope) => who?.scopes.includes(scope))}
        onPalette={() => setPalette(true)}
      />
      <Offline onRefused={onLeave} />
      <Suspense
        fallback={
          <div className="page">
            <div />
            <div className="content column">
              <Skeleton />
            </div>
          </div>
        }
      >
        {who &&
          (page === "tasks" ? (
            <TasksPage batch={rest[0] || undefined} />
          ) : page === "operations" ? (
            <OperationsPage who={who} place={rest[0] ?? ""} rest={rest.slice(1)} />
          ) : (
            <ChatPage thread={rest[0] || undefined} />
          ))}
      </Suspense>
      <StatusStrip who={who} onLeave={onLeave} />
      <Suspense>{palette && <Palette onClose={() => setPalette(false)} />}</Suspense>
      <Said />
    </div>
  );
}

const Said = () => (
  <p className="unseen" role="status">
    {useSaid()}
  </p>
);
