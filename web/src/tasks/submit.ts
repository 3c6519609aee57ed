// Batches on their way: files go up and the batch is submitted while the person goes on working. The form is free at once.
import type { Submission } from "@tidewire/client";
import { useSyncExternalStore } from "react";
import { random } from "../memory";
import { client, told } from "../server";

export interface Item {
  title: string;
  file?: File;
}
export interface Order {
  id: string;
  title: string;
  prompt: string;
  model: string | undefined;
  items: Item[];
}
export interface Sending extends Order {
  uploaded: number;
  batch?: string;
  error?: ReturnType<typeof told>;
}

// As many at once as a browser opens connections to one server.
const UPLOADS_AT_ONCE = 4;
// What the server takes in one batch.
export const MAX_ITEMS = 10_000;
const MAX_TITLE_CHARS = 200;

let all: readonly Sending[] = [];
const listeners = new Set<() => void>();
// What was uploaded stays so when the rest is tried again.
const uploads = new WeakMap<File, string>();

function put(one: Sending) {
  all = all.some(({ id }) => id === one.id) ? all.map((other) => (other.id === one.id ? one : other)) : [one, ...all];
  for (const changed of listeners) changed();
}

export function drop(id: string) {
  all = all.filter((one) => one.id !== id);
  for (const changed of listeners) changed();
}

export function useSendings(): readonly Sending[] {
  return useSyncExternalStore(
    (changed) => {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    () => all,
  );
}

export const order = (prompt: string, model: string | undefined, items: Item[]): Order => ({
  id: `batch-${random()}`,
  title: titleOf(prompt, items),
  prompt,
  model,
  items,
});

function titleOf(prompt: string, items: Item[]) {
  const line = prompt
    .trim()
    .split("\n", 1)[0]!
    .slice(0, MAX_TITLE_CHARS / 2);
  return line || `${items[0]?.title ?? "Batch"}${items.length > 1 ? ` and ${items.length - 1} more` : ""}`;
}

/** Submits it; gives the batch's id, or nothing where it was refused, which the list says. */
export async function submit(asked: Order): Promise<string | undefined> {
  let now: Sending = { ...asked, uploaded: 0 };
  put(now);
  try {
    const names = new Map<Item, string>();
    const queue = asked.items.filter((item) => item.file);
    const worker = async () => {
      for (let item = queue.shift(); item; item = queue.shift()) {
        names.set(item, await upload(item.file!));
        put((now = { ...now, uploaded: now.uploaded + 1 }));
      }
    };
    await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, worker));
    const batch = await client.batch({
      tasks: asked.items.map((item) => request(asked.prompt, item, names.get(item))),
      // Nobody's single question waits behind it.
      defaults: { priority: "normal", ...(asked.model ? { route: asked.model } : {}) },
      idempotencyKey: asked.id,
      metadata: { app: "tasks", title: asked.title },
    });
    drop(asked.id);
    return batch.id;
  } catch (error) {
    put({ ...now, error: told(error) });
    return undefined;
  }
}

async function upload(file: File): Promise<string> {
  const known = uploads.get(file);
  if (known) return known;
  const { id } = await client.file(file, { name: file.name });
  uploads.set(file, id);
  return id;
}

/** The prompt about one item: where it says `{item}`, there, else after it. */
function request(prompt: string, item: Item, file: string | undefined): Submission {
  const metadata = { app: "tasks", title: item.title.slice(0, MAX_TITLE_CHARS) };
  if (file) {
    const words = prompt.replaceAll("{item}", item.title) || "Summarise this file.";
    return {
      input: [
        {
          role: "user",
          content: [
            { type: "text", text: words },
            { type: "file", file: { file_id: file } },
          ],
        },
      ],
      metadata,
    };
  }
  const text = prompt.includes("{item}")
    ? prompt.replaceAll("{item}", item.title)
    : [prompt.trim(), item.title].filter(Boolean).join("\n\n");
  return { input: text, metadata };
}
