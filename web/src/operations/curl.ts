// Commands for a terminal that do what the page shows. The key is named, never written.
import type { TaskRecord } from "@tidewire/client";
import { base } from "../server";

const KEY = `-H "authorization: Bearer $TIDEWIRE_KEY"`;
// What a new task of the same kind is asked with; the rest is its own story.
const FIELDS = ["model", "input", "durability", "priority", "max_attempts", "needs", "metadata"] as const;

/** In single quotes, as every shell takes it. */
export const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Asks the same again. */
export function again(task: TaskRecord): string {
  const body = Object.fromEntries(FIELDS.flatMap((name) => (task[name] === undefined ? [] : [[name, task[name]]])));
  return `curl -s ${quoted(new URL("v1/tasks", base).href)} ${KEY} -H 'content-type: application/json' -d ${quoted(JSON.stringify(body))}`;
}

/** Follows its log. */
export const follow = (id: string): string =>
  `curl -sN ${quoted(new URL(`v1/tasks/${id}/events`, base).href)} ${KEY} -H 'accept: text/event-stream'`;
