// The models that may be asked, and which one is.
import { memory } from "../memory";
import { models } from "../server";
import { Shared } from "../store";

type State = { names: string[]; model: string | undefined };
const state = new Shared<State>({ names: [], model: undefined });

/** Asks once for the page's life; who signs in asks again. */
export async function loadModels() {
  const names = await models().catch(() => [] as string[]);
  const kept = memory.read<string | undefined>("model", undefined);
  state.set({ names, model: kept && names.includes(kept) ? kept : names[0] });
}

function choose(model: string) {
  memory.write("model", model);
  state.set({ ...state.now, model });
}

export const useModels = (): State & { choose: (model: string) => void } => ({ ...state.use(), choose });
