// What a conversation is made of: turns, each a message and the task that answers it. A thread is a lane of tasks;
// what the server needs to give it back on any device lies in the tasks' metadata. Answers that stand side by side are
// turns of one group: the first is in the thread's lane, the others are in lanes beside it, so that all run at once.
import type { TaskRecord } from "@tidewire/client";
import type { Lane } from "../server";

/** Which of the answers side by side one is: number `at`, from 0, of `of`. */
export interface Beside {
  id: string;
  at: number;
  of: number;
}

export interface Turn {
  id: string;
  thread: string;
  /** The lane that its task is in, where that is not the thread's own. */
  lane?: string | undefined;
  beside?: Beside | undefined;
  /** The model was asked how sure it is of its words. */
  sure?: boolean | undefined;
  /** The turn whose answer it goes on from. Two turns after the same one are branches. */
  after?: string | undefined;
  prompt: string;
  /** Only the prompt's beginning is known; the server has all of it. */
  cut?: boolean;
  model?: string | undefined;
  sentAt: number;
  /** By the server's clock, of a turn that was read from there. */
  submittedAt?: number;
  task?: string | undefined;
  /** `held`: until the answer before it has ended, which belongs to its request. */
  state: "held" | "sending" | "sent" | "refused";
  error?: { code: string; message: string; requestId?: string | undefined } | undefined;
}

export interface Heading {
  id: string;
  title: string;
  at: number;
}

const APP = "chat";
// A task's metadata may have 4 KiB as JSON; the rest of it is ids and a title.
const MAX_PROMPT_BYTES = 3_000;
const MAX_TITLE_CHARS = 60;
/** As many as fit on a screen two by two. */
export const MAX_PANES = 4;

/** The lane of an answer side by side, by its place. */
export const laneOf = (thread: string, at: number) => (at === 0 ? thread : `${thread}~${at + 1}`);
/** The thread that a lane belongs to. */
export const threadOf = (lane: string) => /^(.+)~[2-4]$/.exec(lane)?.[1] ?? lane;

/** The first line of a prompt, short enough for a list. */
export function titleOf(prompt: string): string {
  const line = prompt.trim().split("\n", 1)[0] ?? "";
  return line.length > MAX_TITLE_CHARS ? `${[...line].slice(0, MAX_TITLE_CHARS - 1).join("")}…` : line || "Untitled";
}

const bytes = (text: string) => new TextEncoder().encode(JSON.stringify(text)).length;

/** What a task keeps of its turn. */
export function metadata(turn: Turn, title: string): Record<string, unknown> {
  let prompt = turn.prompt;
  while (bytes(prompt) > MAX_PROMPT_BYTES) prompt = prompt.slice(0, Math.floor(prompt.length / 2));
  return {
    app: APP,
    turn: turn.id,
    title,
    prompt,
    ...(turn.after ? { after: turn.after } : {}),
    ...(turn.beside ? { beside: turn.beside } : {}),
    ...(turn.sure ? { sure: true } : {}),
    ...(prompt.length < turn.prompt.length ? { cut: true } : {}),
  };
}

const text = (value: unknown) => (typeof value === "string" ? value : undefined);

function besideOf(value: unknown): Beside | undefined {
  const { id, at, of } = (value ?? {}) as Partial<Beside>;
  const sound = typeof id === "string" && Number.isInteger(at) && Number.isInteger(of);
  return sound && at! >= 0 && at! < of! && of! <= MAX_PANES ? { id, at: at!, of: of! } : undefined;
}

/** The turn that a task answers; `before` is the turn that a task of another program in the lane goes on from. */
export function turnOf(task: TaskRecord, thread: string, before?: string): Turn {
  const kept = task.metadata?.app === APP ? task.metadata : undefined;
  return {
    id: text(kept?.turn) ?? task.id,
    thread,
    lane: task.lane && task.lane !== thread ? task.lane : undefined,
    beside: besideOf(kept?.beside),
    sure: kept?.sure === true || undefined,
    task: task.id,
    model: task.model,
    sentAt: task.submitted_at,
    submittedAt: task.submitted_at,
    state: "sent",
    after: kept ? text(kept.after) : before,
    prompt: text(kept?.prompt) ?? "",
    cut: kept ? kept.cut === true : true,
  };
}

/** The threads that a page of lanes belongs to. */
export function headings(lanes: readonly Lane[]): Heading[] {
  const found = new Map<string, Heading>();
  for (const { lane, title = "", last_at: at } of lanes) {
    const id = threadOf(lane);
    const known = found.get(id);
    // The thread's own lane says its title: what is beside it may begin later.
    const named = lane === id || !known ? titleOf(title) : known.title;
    found.set(id, { id, title: named, at: Math.max(at, known?.at ?? 0) });
  }
  return [...found.values()];
}

/** The words of a request that came from elsewhere: its last user message. */
export function promptOf(input: unknown): string {
  const messages = (input as { messages?: { role: string; content: unknown }[] } | undefined)?.messages ?? [];
  const content = messages.findLast(({ role }) => role === "user")?.content;
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .map((part: { text?: string; file?: { file_id?: string } }) => part.text ?? part.file?.file_id ?? "")
    .join("\n");
}

/** One place of a thread: its turn, or the answers side by side of which none is gone on with yet. */
export interface Step {
  turn: Turn;
  /** All answers side by side: of each place the attempts, oldest first. */
  panes?: Turn[][] | undefined;
  /** One of them is gone on with: it is `turn`. */
  picked: boolean;
  /** The versions of the message, oldest first, and which of them this is. */
  versions: string[];
  version: string;
}

const versionOf = ({ id, beside }: Turn) => beside?.id ?? id;

/**
 * The places from the first to the last, where at each fork the chosen or the newest version is taken. `chosen` has versions by
 * what they go on from, and of answers side by side the turn that is gone on with, by their group's id.
 */
export function pathOf(turns: readonly Turn[], chosen: Record<string, string>): Step[] {
  const byAfter = branches(turns);
  const path: Step[] = [];
  const seen = new Set<string>();
  for (let key = ""; ;) {
    const options = byAfter.get(key) ?? [];
    const versions = [...new Set(options.map(versionOf))];
    const version = versions.find((one) => one === chosen[key]) ?? (options.length ? versionOf(options.at(-1)!) : "");
    const step = stepOf(options, version, versions, chosen, byAfter);
    if (!step || seen.has(step.turn.id)) return path;
    seen.add(step.turn.id);
    path.push(step);
    if (step.panes && !step.picked) return path;
    key = step.turn.id;
  }
}

function stepOf(
  options: readonly Turn[],
  version: string,
  versions: string[],
  chosen: Record<string, string>,
  byAfter: ReadonlyMap<string, Turn[]>,
): Step | undefined {
  const all = options.filter((turn) => versionOf(turn) === version);
  const first = all[0];
  if (!first?.beside) return first && { turn: first, picked: false, versions, version };
  const panes: Turn[][] = [];
  for (const turn of all) (panes[turn.beside!.at] ??= []).push(turn);
  const newest = (turn: Turn) => byAfter.get(turn.id)?.at(-1)?.sentAt ?? 0;
  const continued = all.filter((turn) => newest(turn) > 0).sort((one, other) => newest(other) - newest(one))[0];
  const pick = all.find(({ id }) => id === chosen[version]) ?? continued;
  const shown = panes.filter(Boolean);
  return { turn: pick ?? shown[0]!.at(-1)!, panes: shown, picked: pick !== undefined, versions, version };
}

/** The turns by what they go on from, each list oldest first. A turn whose predecessor has expired begins anew. */
export function branches(turns: readonly Turn[]): Map<string, Turn[]> {
  const known = new Set(turns.map(({ id }) => id));
  const found = new Map<string, Turn[]>();
  for (const turn of turns.toSorted((one, other) => one.sentAt - other.sentAt)) {
    const key = turn.after && known.has(turn.after) ? turn.after : "";
    const list = found.get(key);
    if (list) list.push(turn);
    else found.set(key, [turn]);
  }
  return found;
}

/** The turn and those before it, first one first. */
export function lineage(turns: ReadonlyMap<string, Turn>, turn: Turn): Turn[] {
  const line: Turn[] = [];
  for (let at: Turn | undefined = turn; at && !line.includes(at); at = at.after ? turns.get(at.after) : undefined)
    line.unshift(at);
  return line;
}
