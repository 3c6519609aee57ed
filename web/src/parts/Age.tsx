// How old a kept answer is, and on demand why it was shown: the last value stays at full contrast.
import { useEffect, useState } from "react";
import type { CacheNote } from "@tidewire/client";
import { ago } from "./words";

const MINUTE_MS = 60_000;
const REASONS: Record<string, string> = {
  hit: "This answer was made earlier, to the same request, and is still fresh.",
  stale: "The model could not answer in time, so the last good answer is shown.",
  joined: "Somebody else asked for the same just now: both of you get one answer.",
};

export function Age({ note, since }: { note: CacheNote; since: number }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), MINUTE_MS);
    return () => clearInterval(timer);
  }, []);
  const words =
    note.state === "joined" ? "Shared answer" : `Last updated ${ago(note.age_ms + Math.max(0, now - since))}`;
  return (
    <details className={`chip age ${note.state === "stale" ? "warn" : ""}`}>
      <summary>
        <Clock /> {words}
      </summary>
      <p>
        {REASONS[note.state]}
        {note.reason ? ` Reason: ${note.reason}.` : ""}
      </p>
    </details>
  );
}

const Clock = () => (
  <svg
    width="12"
    height="12"
    viewBox="0 0 12 12"
    fill="none"
    stroke="currentColor"
    strokeWidth="1.4"
    aria-hidden="true"
  >
    <circle cx="6" cy="6" r="5" />
    <path d="M6 3v3.2L8 7.5" />
  </svg>
);
