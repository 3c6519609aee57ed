// What a conversation is made of: turns, each a message and the task that answers it. A thread is a lane of tasks;
// what the server needs to give it back on any device lies in the tasks' metadata.
import type { TaskRecord } from "@tidewire/client";

export interface Turn {
  id: string;
  thread: string;
  /** The turn whose answer it goes on from. Two turns after the same one are branches. */
  after?: string | undefined;
  prompt: string;
  /** Only the prompt's beginning is known; the server has all of it. */
  cut?: boolean;
  model?: string | undefined;
  sentAt: number;
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
    ...(prompt.length < turn.prompt.length ? { cut: true } : {}),
  };
}

const text = (value: unknown) => (typeof value === "string" ? value : undefined);

/** The turn that a task answers; `before` is the turn that a task of another program in the lane goes on from. */
export function turnOf(task: TaskRecord, thread: string, before?: string): Turn {
  const kept = task.metadata?.app === APP ? task.metadata : undefined;
  return {
    id: text(kept?.turn) ?? task.id,
    thread,
    task: task.id,
    model: task.model,
    sentAt: task.submitted_at,
    state: "sent",
    after: kept ? text(kept.after) : before,
    prompt: text(kept?.prompt) ?? "",
    cut: kept ? kept.cut === true : true,
  };
}

/** The threads that a page of tasks belongs to, newest first. */
export function headings(tasks: TaskRecord[]): Heading[] {
  const found = new Map<string, Heading>();
  for (const { lane, metadata, submitted_at: at } of tasks) {
    if (!lane || metadata?.app !== APP || found.has(lane)) continue;
    found.set(lane, { id: lane, title: text(metadata.title) ?? "Untitled", at });
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

/** The turns from the first to the last, where at each fork the chosen or the newest branch is taken. */
export function pathOf(turns: readonly Turn[], chosen: Record<string, string>): Turn[] {
  const byAfter = branches(turns);
  const path: Turn[] = [];
  const seen = new Set<string>();
  for (let key = ""; ;) {
    const options = byAfter.get(key);
    const next = options?.find(({ id }) => id === chosen[key]) ?? options?.at(-1);
    if (!next || seen.has(next.id)) return path;
    seen.add(next.id);
    path.push(next);
    key = next.id;
  }
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
