// A batch's tasks as the server lists them: all of it, or those in one state.
import type { TaskRecord } from "@tidewire/client";
import { useEffect, useState } from "react";
import { tasks, told } from "../server";

const PAGE = 100;
// The list is there to be looked at: beyond so many a person filters or exports.
const MAX_PAGES = 10;
// Each ended task changes the list; more often than this nobody reads it.
const REFRESH_MS = 1_000;

/** Reads all pages, up to `pages`. */
export async function records(batch: string, state?: string, pages = MAX_PAGES): Promise<TaskRecord[]> {
  const found: TaskRecord[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < pages; page += 1) {
    const { tasks: some, next } = await tasks({ batch, state, limit: PAGE, cursor });
    found.push(...some);
    if (!next) break;
    cursor = next;
  }
  return found.reverse();
}

/** `version` says that something changed: then the list is asked for again, soon. */
export function useRecords(
  batch: string,
  state: string,
  version: number,
): { found: TaskRecord[] | undefined; error: ReturnType<typeof told> | undefined } {
  const [now, set] = useState<{
    key: string;
    found: TaskRecord[] | undefined;
    error: ReturnType<typeof told> | undefined;
  }>({ key: "", found: undefined, error: undefined });
  const key = `${batch} ${state}`;
  const first = now.key !== key;
  useEffect(() => {
    let left = false;
    const ask = () =>
      records(batch, state || undefined).then(
        (found) => left || set({ key, found, error: undefined }),
        (error: unknown) => left || set((before) => ({ ...before, key, error: told(error) })),
      );
    const timer = setTimeout(ask, first ? 0 : REFRESH_MS);
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [batch, state, key, version, first]);
  return now.key === key ? now : { found: undefined, error: undefined };
}
