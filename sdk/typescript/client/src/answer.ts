// What a task's events amount to.
import { TidewireError, type WireError } from "./error.js";
import type { CacheNote, LogEvent, Snapshot, Status, TokenLogprob, Usage } from "./types.js";

/** The tokens of a long answer. Those after it are not kept. */
const MAX_LOGPROBS = 32_768;
/** Attempts of a task, and the deployments that each may ask: far above both. */
const MAX_MARKS = 1_024;

const ANSWERS = ["text", "reasoning", "tool_call", "logprobs"];

/** How long everything was where an answer began. */
interface Mark {
  offset: number;
  text: number;
  reasoning: number;
  logprobs: number;
}

interface Data {
  attempt?: number;
  deployment?: string | undefined;
  model?: string;
  cache?: CacheNote;
  to: number;
  text?: string;
  place?: number;
  wait_ms?: number;
  state: Status;
  usage?: Usage & { cost_nanousd?: number };
  finish_reason?: string;
  error?: WireError;
}

/** What else is known of it; what is left out or undefined is not. */
export type Known = { status: Status } & {
  -readonly [
    K in
      | "place"
      | "waitMs"
      | "model"
      | "deployment"
      | "attempt"
      | "cache"
      | "usage"
      | "cost"
      | "finishReason"
      | "error"
      | "startedAt"
      | "endedAt"
      | "ttftMs"
      | "ttarMs"
  ]?: Snapshot[K] | undefined;
};

export class Answer {
  text = "";
  reasoning = "";
  logprobs: TokenLogprob[] = [];
  rewinds = 0;
  known: Known = { status: "queued" };
  #marks: Mark[] = [];
  /** The event before was part of an answer. */
  #answering = false;

  /** False: what stands can't be told without what came before. */
  fold({ kind, data: raw, offset, at }: LogEvent): boolean {
    const { known } = this;
    const data = raw as Data;
    const { place, wait_ms: waitMs, deployment = known.deployment } = data ?? {};
    const answers = ANSWERS.includes(kind);
    if (answers && !this.#answering) {
      if (this.#marks.push({ ...this.#lengths(), offset }) > MAX_MARKS) this.#marks.shift();
    }
    this.#answering = answers;
    if (kind === "text" || kind === "reasoning") {
      this[kind] += raw;
    } else if (kind === "logprobs") {
      if (this.logprobs.length < MAX_LOGPROBS) this.logprobs = this.logprobs.concat(raw as TokenLogprob[]);
    } else if (kind === "rewind") {
      return this.#rewind(data.to);
    } else if (kind === "snapshot") {
      this.text = data.text ?? "";
    } else if (kind === "delayed") {
      Object.assign(known, { place, waitMs });
    } else if (kind === "started") {
      const { model, attempt, cache } = data;
      const startedAt = known.startedAt ?? at;
      Object.assign(known, { status: "running", place, waitMs, startedAt, model, deployment, attempt, cache });
    } else if (kind === "end") {
      const { state: status, usage, finish_reason: finishReason } = data;
      const error = data.error && new TidewireError(data.error);
      Object.assign(known, {
        status,
        place,
        waitMs,
        endedAt: at,
        usage,
        cost: (usage?.cost_nanousd ?? 0) / 1e9,
        finishReason,
        deployment,
        error,
      });
    }
    return true;
  }

  #lengths() {
    return { text: this.text.length, reasoning: this.reasoning.length, logprobs: this.logprobs.length };
  }

  #rewind(to: number): boolean {
    const at = this.#marks.findIndex(({ offset }) => offset >= to);
    const mark = this.#marks[at];
    if (mark?.offset !== to) return false;
    this.rewinds += 1;
    this.text = this.text.slice(0, mark.text);
    this.reasoning = this.reasoning.slice(0, mark.reasoning);
    this.logprobs = this.logprobs.slice(0, mark.logprobs);
    this.#marks.length = at;
    return true;
  }
}
