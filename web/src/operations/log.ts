// A task's log for the events' view: read from its start, followed by long polls until it ends.
import { call } from "../server";
import { folded, type Logged, type Wire } from "./logged";

interface Page {
  epoch: number;
  to: number;
  tail: number;
  ended: boolean;
  events: Wire[];
}

const WAIT_MS = 25_000;
// Tokens come forty times a second; the page asks for them together.
const WINDOW_MS = 500;
/** Tells of each page until the log has ended or `signal` says that nobody looks. */
export async function follow(id: string, signal: AbortSignal, tell: (events: Logged[], ended: boolean) => void) {
  let events: Logged[] = [];
  let place = "";
  while (!signal.aborted) {
    const query = place ? `${place}&wait_ms=${WAIT_MS}&window_ms=${WINDOW_MS}` : "format=json";
    const page = await call<Page>(`v1/tasks/${id}/events?${query}`, {
      headers: { accept: "application/json" },
      signal,
    });
    if (signal.aborted) return;
    events = folded(events, page.events);
    const over = page.ended && page.to >= page.tail;
    if (page.events.length || over) tell(events, over);
    if (over) return;
    place = `format=json&epoch=${page.epoch}${page.to > 0 ? `&after=${page.to - 1}` : ""}`;
  }
}
