// Pages of tasks by their cursor: the filter's first page, and the next ones as they are scrolled to.
import type { TaskRecord } from "@tidewire/client";
import { useCallback, useEffect, useRef, useState } from "react";
import { call } from "../server";

const PAGE = 50;
/** Beyond so many rows a person narrows the filter. */
export const MAX_ROWS = 5_000;

export interface Listed {
  rows: TaskRecord[] | undefined;
  error: unknown;
  /** There is more, and it is being asked for. */
  busy: boolean;
  more: (() => void) | undefined;
  again: () => void;
  /** What is known of a task by now, without asking for the page anew. */
  patch: (task: TaskRecord) => void;
}

export function useList(path: string, query: () => Record<string, string>, key: string): Listed {
  const [now, set] = useState<{
    key: string;
    rows?: TaskRecord[];
    next?: string | undefined;
    error?: unknown;
    busy: boolean;
  }>({
    key: "",
    busy: true,
  });
  const [version, bump] = useState(0);
  const asked = useRef<Record<string, string>>({});
  const full = `${key} ${version}`;
  const fetchPage = useCallback(
    (cursor?: string) => {
      const search = new URLSearchParams({ ...asked.current, limit: String(PAGE), ...(cursor ? { cursor } : {}) });
      return call<{ tasks: TaskRecord[]; next?: string }>(`${path}?${search}`);
    },
    [path],
  );
  const ask = useRef(query);
  ask.current = query;
  useEffect(() => {
    let left = false;
    // A window of time is fixed with the first page: the next ones belong to it.
    asked.current = ask.current();
    set((before) => ({ ...before, error: undefined, busy: true }));
    fetchPage().then(
      ({ tasks, next }) => left || set({ key: full, rows: tasks, next, busy: false }),
      (error: unknown) => left || set((before) => ({ ...before, key: full, error, busy: false })),
    );
    return () => {
      left = true;
    };
  }, [fetchPage, full]);
  const { rows, next } = now;
  const more = useCallback(() => {
    set((before) => ({ ...before, busy: true }));
    fetchPage(next).then(
      (page) =>
        set((before) =>
          before.key === full && before.next === next
            ? { ...before, rows: [...(before.rows ?? []), ...page.tasks], next: page.next, busy: false }
            : before,
        ),
      (error: unknown) => set((before) => (before.key === full ? { ...before, error, busy: false } : before)),
    );
  }, [fetchPage, full, next]);
  const shown = now.key.startsWith(`${key} `);
  return {
    rows: shown ? rows : undefined,
    error: shown ? now.error : undefined,
    busy: now.busy,
    more: shown && next && !now.busy && !now.error && (rows?.length ?? 0) < MAX_ROWS ? more : undefined,
    patch: useCallback(
      (task) =>
        set((before) => ({
          ...before,
          rows: before.rows?.map((row) => (row.id === task.id ? { ...row, ...task } : row)),
        })),
      [],
    ),
    again: useCallback(() => bump((count) => count + 1), []),
  };
}
