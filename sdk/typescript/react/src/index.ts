// Hooks over the client's stores. All stores that changed tell together, once a frame, so React commits once for all of them.
import type { Batch, BatchSnapshot, Client, ConnectionStatus, Snapshot, Task } from "@tidewire/client";
import { createContext, createElement, useContext, useMemo, useSyncExternalStore, type ReactNode } from "react";

/** What a hook reads. */
interface Source<S> {
  subscribe(listener: () => void): () => void;
  readonly snapshot: S;
}

const Context = createContext<Client | null>(null);

/** Which client the hooks below it use. */
export function TidewireProvider({ client, children }: { client: Client; children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client, for what is done and not shown: `submit`, `send`, `tasks`, `request`. */
export function useTidewire(): Client {
  const client = useContext(Context);
  if (!client)
    throw new Error("a component that uses a hook of @tidewire/react needs a <TidewireProvider client={…}> around it");
  return client;
}

const nothing: Source<null> = { subscribe: () => () => {}, snapshot: null };

function useSource<S>(source: Source<S>): S {
  const read = () => source.snapshot;
  return useSyncExternalStore(source.subscribe, read, read);
}

/** A task as it is now; it is followed while the component is there. `null` asks for nothing. */
export function useTask(task: string | Task): Snapshot;
export function useTask(task: string | Task | null | undefined): Snapshot | null;
export function useTask(task: string | Task | null | undefined): Snapshot | null {
  const client = useTidewire();
  const source = useMemo(() => (typeof task === "string" ? client.follow(task) : task), [client, task]);
  return useSource<Snapshot | null>(source ?? nothing);
}

/** A batch as it is now. */
export function useBatch(batch: string | Batch): BatchSnapshot;
export function useBatch(batch: string | Batch | null | undefined): BatchSnapshot | null;
export function useBatch(batch: string | Batch | null | undefined): BatchSnapshot | null {
  const client = useTidewire();
  const source = useMemo(() => (typeof batch === "string" ? client.followBatch(batch) : batch), [client, batch]);
  return useSource<BatchSnapshot | null>(source ?? nothing);
}

/** Several tasks, in this order: the same array until one of them changes. */
export function useTasks(tasks: readonly (string | Task)[]): readonly Snapshot[] {
  const client = useTidewire();
  const names = tasks.map((task) => (typeof task === "string" ? task : task.key)).join(" ");
  // Another array of the same tasks is no other question.
  const source = useMemo(() => together(client, tasks), [client, names]);
  return useSource(source);
}

function together(client: Client, tasks: readonly (string | Task)[]): Source<readonly Snapshot[]> {
  const stores = tasks.map((task) => (typeof task === "string" ? client.follow(task) : task));
  let last: readonly Snapshot[] = [];
  return {
    subscribe(listener) {
      const leaves = stores.map((store) => store.subscribe(listener));
      return () => leaves.forEach((leave) => leave());
    },
    get snapshot() {
      if (last.length !== stores.length || stores.some((store, n) => store.snapshot !== last[n])) {
        last = stores.map((store) => store.snapshot);
      }
      return last;
    },
  };
}

/** The connection's state. */
export function useStatus(): ConnectionStatus {
  return useSource(useTidewire().status);
}
