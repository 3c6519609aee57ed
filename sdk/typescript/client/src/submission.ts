// A task in the words of the wire.
import { snaked } from "./http.js";
import type { Input, Submission } from "./types.js";

/** Field by field; what is inside of `input` and `metadata` is the caller's. */
export function wireTask({ input, route, budget, ...rest }: Partial<Submission>): Record<string, unknown> {
  return {
    ...snaked(rest),
    ...(route !== undefined && { model: route }),
    ...(budget && { budget: snaked(budget) }),
    ...(input !== undefined && wireInput(input)),
  };
}

function wireInput(input: Input): object {
  if (typeof input === "string") return { prompt: input };
  return { input: Array.isArray(input) ? { messages: input } : input };
}

/** A key for one task, made where the task is. `crypto.randomUUID` is only there on secure pages. */
export function idempotencyKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
