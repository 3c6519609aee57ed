// A task's log event by event, the newest first: tokens folded into one line, the payload of what is opened.
import { useEffect, useState } from "react";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { number } from "../parts/words";
import { told } from "../server";
import { clock } from "./figures";
import { follow } from "./log";
import type { Logged } from "./logged";

// The newest so many, and as many again with each press: a page of thousands freezes.
const STEP = 200;
const LINE_CHARS = 120;

export default function Events({ id, onEnd }: { id: string; onEnd: () => void }) {
  const [found, set] = useState<{ events: Logged[]; ended: boolean; error?: unknown }>();
  const [most, setMost] = useState(STEP);
  useEffect(() => {
    const left = new AbortController();
    follow(id, left.signal, (events, ended) => {
      set({ events, ended });
      if (ended) onEnd();
    }).catch((error: unknown) => {
      if (!left.signal.aborted) set((before) => ({ events: before?.events ?? [], ended: false, error }));
    });
    return () => left.abort();
  }, [id, onEnd]);
  if (!found) return <Skeleton />;
  const { events, ended, error } = found;
  const shown = events.slice(-most).reverse();
  return (
    <div className="events">
      {error !== undefined && <Fault error={told(error)} />}
      <p className="muted number">
        {number(events.length)} {events.length === 1 ? "event" : "events"}
        {ended ? "" : " so far"}, newest first
      </p>
      <ol reversed start={events.length}>
        {shown.map((event) => (
          <Row key={event.offset} event={event} />
        ))}
      </ol>
      {events.length > most && (
        <button type="button" className="small" onClick={() => setMost((count) => count + STEP)}>
          Show {number(Math.min(STEP, events.length - most))} older
        </button>
      )}
    </div>
  );
}

function Row({ event }: { event: Logged }) {
  const [open, setOpen] = useState(false);
  const { offset, count, type, at, data } = event;
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return (
    <li data-type={type}>
      <details onToggle={(toggled) => setOpen(toggled.currentTarget.open)}>
        <summary>
          <span className="number muted">{count > 1 ? `${offset}–${offset + count - 1}` : offset}</span>
          <span className="number muted">{clock(at, true)}</span>
          <span className="type">
            {type}
            {count > 1 && <span className="muted"> ×{number(count)}</span>}
          </span>
          <span className="payload muted">{text?.slice(0, LINE_CHARS)}</span>
        </summary>
        {open && <pre tabIndex={0}>{typeof data === "string" ? data : JSON.stringify(data, null, 2)}</pre>}
      </details>
    </li>
  );
}
