// The one hidden line that a screen reader hears: what began and what ended, never each word.
import { Shared } from "./store";

const line = new Shared("");

export const say = (text: string) => line.set(text);
export const useSaid = () => line.use();
