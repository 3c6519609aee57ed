// The conversations: sent turns come from the server, unsent ones from this browser's outbox, and other tabs hear of both.
// A send has one idempotency key from its first try to its last, so that no reload and no second tab doubles it.
import type { Snapshot, TaskRecord } from "@tidewire/client";
import { memory, random } from "../memory";
import { pause } from "../pause";
import { call, client, lanes, newLanes, tasks, told, type Lanes } from "../server";
import { Shared } from "../store";
import { asksSure } from "./asking";
import {
  MAX_PANES,
  headings,
  laneOf,
  lineage,
  metadata,
  promptOf,
  threadOf,
  titleOf,
  turnOf,
  type Heading,
  type Turn,
} from "./turns";

const MAX_HEADINGS = 200;
const PAGE = 100;
// What fits on a screen, and once more; older ones come on demand.
const LANES = 50;
// After an answer that could not be taken up, and, doubled each time, after one that did not come.
const AGAIN_MS = 1_000;
const LONGEST_MS = 20_000;
// Of a longer thread the newest thousand turns are shown: nobody scrolls up further, and no model reads further back.
const MAX_PAGES = 10;
// A pick counts until the next message says it to the server: of older ones nobody asks.
const MAX_PICKS = 200;
// What else the model might have said, where it is asked how sure it is.
const ALTERNATIVES = 3;

type Thread = ReadonlyMap<string, Turn>;
/** What tabs tell each other. */
type Told = Turn | { picks: State["picks"] };
type State = {
  threads: ReadonlyMap<string, Thread>;
  headings: readonly Heading[];
  next?: string | undefined;
  /** More than the newest page was asked for. */
  older?: boolean;
  loaded: ReadonlySet<string>;
  fault?: Turn["error"];
  /** Of answers side by side, by their group: the turn that is gone on with. */
  picks: Readonly<Record<string, string>>;
};

const shared = new Shared<State>({
  threads: new Map(),
  headings: memory.read<Heading[]>("threads", []),
  loaded: new Set(),
  picks: memory.read<Record<string, string>>("picks", {}),
});
const others = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel("tidewire.turns");
// Turns whose request is on its way from this tab, and those that wait for another's end.
const busy = new Set<string>();
// Lanes of answers side by side that the list has named.
const beside = new Set<string>();

const set = (change: Partial<State>) => shared.set({ ...shared.now, ...change });
export const useThreads = (): State => shared.use();

const turn = (thread: string, id: string) => shared.now.threads.get(thread)?.get(id);

function put(...turns: Turn[]) {
  const threads = new Map(shared.now.threads);
  for (const one of turns) threads.set(one.thread, new Map(threads.get(one.thread)).set(one.id, one));
  set({ threads });
}

/** A change of a turn of this tab: kept, shown, and told to the other tabs. */
function change(one: Turn) {
  put(one);
  const outbox = memory.read<Turn[]>("outbox", []).filter(({ id }) => id !== one.id);
  memory.write("outbox", one.state === "sent" ? outbox : [...outbox, one]);
  others?.postMessage(one satisfies Told);
}

function head(...found: Heading[]) {
  const merged = new Map(shared.now.headings.map((one) => [one.id, one]));
  for (const one of found) if ((merged.get(one.id)?.at ?? 0) <= one.at) merged.set(one.id, one);
  const all = [...merged.values()].sort((one, other) => other.at - one.at).slice(0, MAX_HEADINGS);
  memory.write("threads", all);
  set({ headings: all });
}

/** Sends a prompt after a turn of the thread, or as its first, to one model or to several at once; gives the first turn. */
export function send(
  thread: string,
  prompt: string,
  models: readonly (string | undefined)[],
  after: string | undefined,
): Turn {
  const group = random();
  const before = after === undefined ? undefined : turn(thread, after);
  const turns = models.map((model, at): Turn => {
    const lane = models.length > 1 ? laneOf(thread, at) : before?.lane;
    return {
      ...{ id: random(), thread, prompt, model, after, sentAt: Date.now(), state: "held" },
      ...(lane && lane !== thread ? { lane } : {}),
      ...(models.length > 1 ? { beside: { id: group, at, of: models.length } } : {}),
      ...(asksSure(model) ? { sure: true } : {}),
    };
  });
  return begun(turns);
}

function begun(turns: Turn[]): Turn {
  for (const one of turns) change(one);
  const first = turns[0]!;
  const root = lineage(shared.now.threads.get(first.thread)!, first)[0]!;
  head({ id: first.thread, title: titleOf(root.prompt), at: first.sentAt });
  for (const one of turns) void push(one);
  return first;
}

/** Sends a refused turn once more, under the same key; an answered one as another attempt in its place, or as a new branch. */
export function again(one: Turn, alone = false): Turn {
  const sure = asksSure(one.model) || undefined;
  const after = alone ? undefined : one.after;
  const next: Turn = { ...one, after, sure, state: "held", error: undefined };
  if (alone) delete next.beside;
  if (one.task) return begun([{ ...next, id: random(), sentAt: Date.now(), task: undefined }]);
  change(next);
  void push(next);
  return next;
}

/** Goes on with one of the answers side by side. */
export function pick(group: string, id: string | undefined) {
  const { [group]: _, ...rest } = shared.now.picks;
  const all = Object.entries(id ? { ...rest, [group]: id } : rest);
  picked(Object.fromEntries(all.slice(-MAX_PICKS)));
  others?.postMessage({ picks: shared.now.picks } satisfies Told);
}

function picked(picks: State["picks"]) {
  memory.write("picks", picks);
  set({ picks });
}

export function discard(one: Turn) {
  memory.write(
    "outbox",
    memory.read<Turn[]>("outbox", []).filter(({ id }) => id !== one.id),
  );
  const left = new Map(shared.now.threads.get(one.thread));
  left.delete(one.id);
  set({ threads: new Map(shared.now.threads).set(one.thread, left) });
}

const ended = ({ status }: Snapshot) => status === "done" || status === "failed" || status === "stopped";

/** Waits for the end of the answers that belong to its request, then submits. */
async function push(one: Turn) {
  if (busy.has(one.id)) return;
  busy.add(one.id);
  try {
    const before = lineage(shared.now.threads.get(one.thread) ?? new Map<string, Turn>(), one).slice(0, -1);
    const messages: { role: string; content: string }[] = [];
    for (const earlier of before) messages.push(...(await said(earlier)));
    change({ ...one, state: "sending" });
    const title = titleOf((before[0] ?? one).prompt);
    const task = await client.submit({
      input: {
        messages: [...messages, { role: "user", content: one.prompt }],
        ...(one.sure ? { logprobs: true, top_logprobs: ALTERNATIVES } : {}),
      },
      route: one.model,
      lane: one.lane ?? one.thread,
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
      leave();
      resolve(now);
    };
    const leave = shared.subscribe(look);
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

/** The turns of a lane's tasks, which come newest first. */
function read(thread: string, found: TaskRecord[]): Turn[] {
  let before: string | undefined;
  return found.toReversed().map((task) => {
    const one = turnOf(task, thread, before);
    before = one.id;
    const known = turn(thread, one.id);
    // What this tab knows of the prompt is whole, what a task keeps may be cut.
    return known?.task && !known.cut ? { ...one, prompt: known.prompt, cut: false } : one;
  });
}

/** The thread's turns as the server has them. */
export async function open(thread: string): Promise<void> {
  try {
    const main = read(thread, await all(thread));
    // The first of answers side by side is in the thread's own lane, and says how many lanes are beside it. Where it was refused,
    // the list of lanes has the others.
    const count = Math.max(1, ...main.map(({ beside: group }) => group?.of ?? 1));
    const sides = Array.from({ length: MAX_PANES - 1 }, (_, at) => laneOf(thread, at + 1));
    const asked = sides.filter((lane, at) => at + 1 < count || beside.has(lane)).map((lane) => all(lane));
    const turns = [main, ...(await Promise.all(asked)).map((found) => read(thread, found))].flat();
    // What this tab is sending just now it hears of by its ack, which also knows since when the person waits.
    put(...turns.filter(({ id }) => !busy.has(id)));
    // A send of which this browser does not know that it arrived.
    const arrived = new Set(turns.map(({ id }) => id));
    memory.write(
      "outbox",
      memory.read<Turn[]>("outbox", []).filter(({ id }) => !arrived.has(id)),
    );
    set({ loaded: new Set(shared.now.loaded).add(thread), fault: undefined });
  } catch (error) {
    set({ fault: told(error), loaded: new Set(shared.now.loaded).add(thread) });
  }
}

function listed(page: Lanes) {
  head(...headings(page.lanes));
  for (const { lane } of page.lanes) if (threadOf(lane) !== lane) beside.add(lane);
}

/** Older threads than those that are listed. */
export async function older(): Promise<void> {
  try {
    const page = await lanes(LANES, shared.now.next);
    listed(page);
    set({ next: page.next, older: true, fault: undefined });
  } catch (error) {
    set({ fault: told(error) });
  }
}

/**
 * Takes up the newest lanes. Where they name a task of the open thread that is not known here, another device went on with it.
 * False where that can't be told yet.
 */
async function hear(page: Lanes, openThread: string | undefined): Promise<boolean> {
  listed(page);
  set({ ...(shared.now.older ? {} : { next: page.next }), fault: undefined });
  if (!openThread) return true;
  await loaded(openThread);
  const known = new Set([...(shared.now.threads.get(openThread)?.values() ?? [])].map(({ task }) => task));
  const news = page.lanes.some(({ lane, last_task: last }) => threadOf(lane) === openThread && !known.has(last));
  // An own send whose ack is on its way is no news.
  if (news && [...busy].some((id) => turn(openThread, id))) return false;
  if (news) await open(openThread);
  return true;
}

/** Once the thread's turns are here, or can't be had. */
function loaded(thread: string): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!shared.now.loaded.has(thread)) return;
      leave();
      resolve();
    };
    const leave = shared.subscribe(look);
    look();
  });
}

/** Hears of what other devices ask, while somebody looks; returns what ends it. The server answers once something has changed. */
export function listen(openThread: string | undefined): () => void {
  let looking: AbortController | undefined;
  const look = async ({ signal }: AbortController) => {
    let tag: string | undefined;
    for (let failed = 0; !signal.aborted;) {
      try {
        const { page, tag: now } = await newLanes(LANES, tag, signal);
        const heard = !page || (await hear(page, openThread));
        tag = heard ? now : undefined;
        failed = 0;
        if (!heard) await pause(AGAIN_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        set({ fault: told(error) });
        await pause(Math.random() * Math.min(AGAIN_MS * 2 ** ++failed, LONGEST_MS), signal);
      }
    }
  };
  const turnTo = () => {
    looking?.abort();
    looking = undefined;
    if (!document.hidden) void look((looking = new AbortController()));
  };
  turnTo();
  document.addEventListener("visibilitychange", turnTo);
  return () => {
    document.removeEventListener("visibilitychange", turnTo);
    looking?.abort();
  };
}

/** Takes up what was not sent yet, and listens to the other tabs. */
export function begin() {
  const unsent = memory.read<Turn[]>("outbox", []);
  put(...unsent);
  for (const one of unsent)
    if (one.state !== "refused")
      void open(one.thread).then(() => (turn(one.thread, one.id)?.task ? undefined : push(one)));
  if (!others) return;
  others.onmessage = ({ data }: MessageEvent<Told>) => {
    if ("picks" in data) return picked(data.picks);
    put(data);
    const root = lineage(shared.now.threads.get(data.thread)!, data)[0]!;
    head({ id: data.thread, title: titleOf(root.prompt), at: data.sentAt });
  };
}
