// The operators' pages: one tab for each, of which only those are there that the caller may see.
import { lazy, Suspense, useEffect, useState, type ComponentType } from "react";
import { Skeleton } from "../parts/Skeleton";
import { at } from "../router";
import { told, type Caller } from "../server";
import { old, clock } from "./figures";
import { allowed, PLACES, type Place } from "./places";
import { feed, useLive } from "./useLive";
import "./operations.css";

type Page = ComponentType<{ who: Caller; rest: string[] }>;
const LOADS: Record<Place, () => Promise<{ default: Page }>> = {
  overview: () => import("./Overview"),
  deployments: () => import("./Deployments"),
  money: () => import("./Money"),
  requests: () => import("./Requests"),
  "dead-letters": () => import("./DeadLetters"),
  keys: () => import("./Keys"),
};
const PAGES = Object.fromEntries(PLACES.map(({ place }) => [place, lazy(LOADS[place])])) as unknown as Record<
  Place,
  Page
>;
const LIVE: Place[] = ["overview", "deployments", "money"];
// The page that is asked for, and its figures, begin to load with this one, not after it.
const first = PLACES.find(({ place }) => place === location.hash.split("/")[2])?.place ?? "overview";
void LOADS[first]();
if (LIVE.includes(first)) feed.wake();

export default function OperationsPage({ who, place, rest }: { who: Caller; place: string; rest: string[] }) {
  const places = allowed(who.scopes);
  const open = places.find((one) => one.place === place) ?? places[0];
  const Page = open && PAGES[open.place];
  const live = open && LIVE.includes(open.place) && who.scopes.includes("admin:read");
  return (
    <div className="page operations">
      <div className="content">
        <header className="head">
          <h1>Operations</h1>
          {live && <Pulse />}
        </header>
        <nav className="tabs" aria-label="Operations">
          {places.map(({ place: to, name }) => (
            <a
              key={to}
              ref={to === open?.place ? reveal : undefined}
              href={at("operations", to)}
              aria-current={to === open?.place ? "page" : undefined}
            >
              {name}
            </a>
          ))}
        </nav>
        <Suspense
          fallback={
            <div className="body">
              <Skeleton />
            </div>
          }
        >
          {Page ? (
            <Page who={who} rest={rest} />
          ) : (
            <main className="body">
              <p className="note muted">
                This key may see none of the operators' pages. They need the scope <code>tasks:read</code> or{" "}
                <code>admin:read</code>.
              </p>
            </main>
          )}
        </Suspense>
      </div>
    </div>
  );
}

// On a narrow screen the tabs scroll: the open one is in sight.
const reveal = (tab: HTMLElement | null) => tab?.scrollIntoView({ inline: "nearest", block: "nearest" });

const WORDS = { connecting: "Connecting", live: "Live", cut: "Reconnecting", refused: "Refused" };
// A person sees an age change; more often than this nobody looks.
const AGE_MS = 1_000;

/** How the stream stands, how old the figures are, and the one button that holds all that is live. */
function Pulse() {
  const { link, heardAt, pausedAt, error } = useLive();
  const [now, setNow] = useState(() => Date.now());
  const stale = link === "cut" && heardAt > 0;
  useEffect(() => {
    if (!stale) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), AGE_MS);
    return () => clearInterval(timer);
  }, [stale, heardAt]);
  return (
    <div className="row pulse">
      {stale && (
        <details className="chip warn age">
          <summary>Last updated {old(Math.max(0, now - heardAt))}</summary>
          <p>
            {told(error).message}. These are the last figures that came; the page comes back by itself.
            <button type="button" className="link" onClick={feed.wake}>
              Ask now
            </button>
          </p>
        </details>
      )}
      <span className="state" data-state={pausedAt ? "paused" : LINKS[link]}>
        {pausedAt ? `Paused at ${clock(pausedAt, true)}` : WORDS[link]}
      </span>
      <button
        type="button"
        className="small"
        aria-pressed={pausedAt !== undefined}
        onClick={() => feed.pause(!pausedAt)}
      >
        {pausedAt ? "Go on" : "Pause"}
      </button>
    </div>
  );
}
const LINKS = { connecting: "waiting", live: "open", cut: "waiting", refused: "refused" };
