// A task on its way: in the words of the wire, and by a request where no socket takes it.
import { TidewireError, networkError } from "./error.js";
import { snaked } from "./http.js";
import type { Input, Submission } from "./types.js";
import { PAGE_MS, type Ack, type Host, type Submit } from "./wire.js";

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

/** Over a request. Of no use to anybody once the connection is lost: then the next one sends it again. */
export function submitByHttp(host: Host, submit: Submit, signal: AbortSignal): void {
  host.http.json<Ack>("POST", "v1/tasks", { body: submit.task, signal, withinMs: PAGE_MS }).then(
    (ack) => void host.acked(submit, ack, false),
    (error) => {
      if (signal.aborted) return;
      host.refused(submit, error instanceof TidewireError ? error : networkError(String(error)));
    },
  );
}
