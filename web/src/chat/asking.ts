// How the next message is asked: of how many models at once, and whether they say how sure they are. Kept in this browser.
import { memory } from "../memory";
import { Shared } from "../store";
import { MAX_PANES } from "./turns";

export interface Asking {
  /** The models of the answers side by side; fewer than two: one answer, of the model that is chosen. */
  beside: string[];
  sure: boolean;
  /** Models that refused to say how sure they are. */
  unable: string[];
}

// A refusal that was forgotten costs one more refusal.
const MAX_UNABLE = 50;

const kept = memory.read<Partial<Asking>>("asking", {});
const state = new Shared<Asking>({
  beside: (kept.beside ?? []).slice(0, MAX_PANES),
  sure: kept.sure === true,
  unable: kept.unable ?? [],
});

export const useAsking = () => state.use();

export function ask(change: Partial<Asking>) {
  state.set({ ...state.now, ...change });
  memory.write("asking", state.now);
}

/** Whether the model is asked how sure it is. */
export const asksSure = (model: string | undefined) =>
  state.now.sure && !(model !== undefined && state.now.unable.includes(model));

/** The model does not say it: it is not asked again. */
export function cannotSay(model: string | undefined) {
  if (model) ask({ unable: [model, ...state.now.unable.filter((one) => one !== model)].slice(0, MAX_UNABLE) });
}
