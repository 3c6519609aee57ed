// The feed as React components read it. It sleeps while the page is hidden: figures nobody sees cost the server nothing.
import { systemClock } from "@tidewire/client/clock";
import { useEffect, useState, useSyncExternalStore } from "react";
import { ask } from "../server";
import { Feed, type Live } from "./feed";

/** So long a hidden page is kept up to date: going to another tab and back shows no gap. */
const HIDDEN_MS = 60_000;

export const feed = new Feed({
  open: (signal) => ask("v1/operations", { headers: { accept: "text/event-stream" }, signal }),
  clock: systemClock,
  today: Date.now,
});

let asleep: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(asleep);
  if (document.hidden) asleep = setTimeout(feed.sleep, HIDDEN_MS);
  else feed.look();
});

export const useLive = (): Live => useSyncExternalStore(feed.subscribe, feed.get);

/** What is under the pointer or has the focus stands still, so that a row is not gone from under a click. */
export function useHeld<T>(value: T): {
  held: T;
  hold: { onPointerEnter(): void; onPointerLeave(): void; onFocus(): void; onBlur(): void };
} {
  const [kept, keep] = useState<{ value: T }>();
  const on = () => keep((before) => before ?? { value });
  const off = () => keep(undefined);
  return {
    held: kept ? kept.value : value,
    hold: { onPointerEnter: on, onPointerLeave: off, onFocus: on, onBlur: off },
  };
}

/** The server's time, for ages that grow while nothing else changes. Stands still with the figures. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(() => Date.now());
  const { pausedAt, aheadMs } = useLive();
  useEffect(() => {
    if (pausedAt !== undefined) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, pausedAt]);
  return (pausedAt ?? now) - aheadMs;
}
