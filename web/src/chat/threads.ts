// The conversations: sent turns come from the server, unsent ones from this browser's outbox, and other tabs hear of both.
// A send has one idempotency key from its first try to its last, so that no reload and no second tab doubles it.
import type { Snapshot, TaskRecord } from "@tidewire/client";
import { useSyncExternalStore } from "react";
import { memory, random } from "../memory";
import { call, client, tasks, told } from "../server";
import { headings, lineage, metadata, promptOf, titleOf, turnOf, type Heading, type Turn } from "./turns";

const MAX_HEADINGS = 200;
const PAGE = 100;
// Of a longer thread the newest thousand turns are shown: nobody scrolls up further, and no model reads further back.
const MAX_PAGES = 10;

type Thread = ReadonlyMap<string, Turn>;
type State = {
  threads: ReadonlyMap<string, Thread>;
  headings: readonly Heading[];
  next?: string | undefined;
  loaded: ReadonlySet<string>;
  fault?: Turn["error"];
};

let state: State = { threads: new Map(), headings: memory.read<Heading[]>("threads", []), loaded: new Set() };
const listeners = new Set<() => void>();
const others = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel("tidewire.turns");
// Turns whose request is on its way from this tab, and those that wait for another's end.
const busy = new Set<string>();

function set(change: Partial<State>) {
  state = { ...state, ...change };
  for (const changed of listeners) changed();
}

export function useThreads(): State {
  return useSyncExternalStore(
    (changed) => {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    () => state,
  );
}

const turn = (thread: string, id: string) => state.threads.get(thread)?.get(id);

function put(...turns: Turn[]) {
  const threads = new Map(state.threads);
  for (const one of turns) threads.set(one.thread, new Map(threads.get(one.thread)).set(one.id, one));
  set({ threads });
}

/** A change of a turn of this tab: kept, shown, and told to the other tabs. */
function change(one: Turn) {
  put(one);
  const outbox = memory.read<Turn[]>("outbox", []).filter(({ id }) => id !== one.id);
  memory.write("outbox", one.state === "sent" ? outbox : [...outbox, one]);
  others?.postMessage(one);
}

function head(...found: Heading[]) {
  const merged = new Map(state.headings.map((one) => [one.id, one]));
  for (const one of found) if ((merged.get(one.id)?.at ?? 0) <= one.at) merged.set(one.id, one);
  const all = [...merged.values()].sort((one, other) => other.at - one.at).slice(0, MAX_HEADINGS);
  memory.write("threads", all);
  set({ headings: all });
}

/** Sends a prompt after a turn of the thread, or as its first. */
export function send(thread: string, prompt: string, model: string | undefined, after: string | undefined): Turn {
  const one: Turn = { id: random(), thread, prompt, model, after, sentAt: Date.now(), state: "held" };
  change(one);
  const root = lineage(state.threads.get(thread)!, one)[0]!;
  head({ id: thread, title: titleOf(root.prompt), at: one.sentAt });
  void push(one);
  return one;
}

/** Sends a refused turn once more, under the same key; an answered one as a new branch. */
export function again(one: Turn, alone = false): Turn {
  if (one.task) return send(one.thread, one.prompt, one.model, alone ? undefined : one.after);
  const next: Turn = { ...one, state: "held", error: undefined, after: alone ? undefined : one.after };
  change(next);
  void push(next);
  return next;
}

export function discard(one: Turn) {
  memory.write(
    "outbox",
    memory.read<Turn[]>("outbox", []).filter(({ id }) => id !== one.id),
  );
  const left = new Map(state.threads.get(one.thread));
  left.delete(one.id);
  set({ threads: new Map(state.threads).set(one.thread, left) });
}

const ended = ({ status }: Snapshot) => status === "done" || status === "failed" || status === "stopped";

/** Waits for the end of the answers that belong to its request, then submits. */
async function push(one: Turn) {
  if (busy.has(one.id)) return;
  busy.add(one.id);
  try {
    const before = lineage(state.threads.get(one.thread) ?? new Map<string, Turn>(), one).slice(0, -1);
    const messages: { role: string; content: string }[] = [];
    for (const earlier of before) messages.push(...(await said(earlier)));
    change({ ...one, state: "sending" });
    const title = titleOf((before[0] ?? one).prompt);
    const task = await client.submit({
      input: [...messages, { role: "user", content: one.prompt }],
      route: one.model,
      lane: one.thread,
      priority: "interactive",
      idempotencyKey: `chat-${one.id}`,
      metadata: metadata(one, title),
    });
    change({ ...one, state: "sent", task: task.id });
  } catch (error) {
    change({ ...one, state: "refused", error: told(error) });
  } finally {
    busy.delete(one.id);
  }
}

/** What a turn adds to the next request: nothing, where it came to no answer. */
async function said(earlier: Turn): Promise<{ role: string; content: string }[]> {
  let found = await acked(earlier);
  if (!found?.task) return [];
  const snapshot = await end(found.task);
  if (snapshot.status === "failed" || !snapshot.text) return [];
  if (found.cut) found = await complete(found);
  return [
    { role: "user", content: found.prompt },
    { role: "assistant", content: snapshot.text },
  ];
}

/** The turn once its task is known, or once it never will be. */
function acked(one: Turn): Promise<Turn | undefined> {
  return new Promise((resolve) => {
    const look = () => {
      const now = turn(one.thread, one.id);
      if (now && !now.task && now.state !== "refused") return;
      listeners.delete(look);
      resolve(now);
    };
    listeners.add(look);
    look();
  });
}

function end(id: string): Promise<Snapshot> {
  const task = client.follow(id);
  return new Promise((resolve) => {
    let leave = () => {};
    const look = () => {
      if (!ended(task.snapshot)) return;
      leave();
      resolve(task.snapshot);
    };
    leave = task.subscribe(look);
    look();
  });
}

/** Fetches a prompt of which only the beginning is known. */
export async function complete(one: Turn): Promise<Turn> {
  const record = await call<{ input?: unknown }>(`v1/tasks/${one.task}?input=true`);
  const whole: Turn = { ...one, prompt: promptOf(record.input) || one.prompt, cut: false };
  put(whole);
  return whole;
}

async function all(lane: string): Promise<TaskRecord[]> {
  const found: TaskRecord[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { tasks: some, next } = await tasks({ lane, limit: PAGE, cursor });
    found.push(...some);
    if (!next) break;
    cursor = next;
  }
  return found;
}

/** The thread's turns as the server has them. */
export async function open(thread: string): Promise<void> {
  try {
    const found = await all(thread);
    let before: string | undefined;
    const turns = found.toReversed().map((task) => {
      const one = turnOf(task, thread, before);
      before = one.id;
      const known = turn(thread, one.id);
      // What this tab knows of the prompt is whole, what a task keeps may be cut.
      return known?.task && !known.cut ? { ...one, prompt: known.prompt, cut: false } : one;
    });
    // What this tab is sending just now it hears of by its ack, which also knows since when the person waits.
    put(...turns.filter(({ id }) => !busy.has(id)));
    // A send of which this browser does not know that it arrived.
    const arrived = new Set(turns.map(({ id }) => id));
    memory.write(
      "outbox",
      memory.read<Turn[]>("outbox", []).filter(({ id }) => !arrived.has(id)),
    );
    set({ loaded: new Set(state.loaded).add(thread), fault: undefined });
  } catch (error) {
    set({ fault: told(error), loaded: new Set(state.loaded).add(thread) });
  }
}

/** The list of threads, newest first; `more` goes on with older ones. */
export async function list(more = false): Promise<void> {
  try {
    const page = await tasks({ limit: PAGE, cursor: more ? state.next : undefined });
    head(...headings(page.tasks));
    set({ next: page.next, fault: undefined });
  } catch (error) {
    set({ fault: told(error) });
  }
}

/** Takes up what was not sent yet, and listens to the other tabs. */
export function begin() {
  const unsent = memory.read<Turn[]>("outbox", []);
  put(...unsent);
  for (const one of unsent)
    if (one.state !== "refused")
      void open(one.thread).then(() => (turn(one.thread, one.id)?.task ? undefined : push(one)));
  if (!others) return;
  others.onmessage = ({ data }: MessageEvent<Turn>) => {
    put(data);
    const root = lineage(state.threads.get(data.thread)!, data)[0]!;
    head({ id: data.thread, title: titleOf(root.prompt), at: data.sentAt });
  };
}
