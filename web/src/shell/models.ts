// The models that may be asked, and which one is.
import { useSyncExternalStore } from "react";
import { memory } from "../memory";
import { models } from "../server";

type State = { names: string[]; model: string | undefined };
let state: State = { names: [], model: undefined };
const listeners = new Set<() => void>();

function set(next: State) {
  state = next;
  for (const changed of listeners) changed();
}

/** Asks once for the page's life; who signs in asks again. */
export async function loadModels() {
  const names = await models().catch(() => [] as string[]);
  const kept = memory.read<string | undefined>("model", undefined);
  set({ names, model: kept && names.includes(kept) ? kept : names[0] });
}

function choose(model: string) {
  memory.write("model", model);
  set({ ...state, model });
}

export function useModels(): State & { choose: (model: string) => void } {
  const now = useSyncExternalStore(
    (changed) => {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
    () => state,
  );
  return { ...now, choose };
}
