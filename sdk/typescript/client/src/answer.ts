// What a task's events amount to.
import { TidewireError, type WireError } from "./error.js";
import type { CacheNote, LogEvent, Status, TokenLogprob, Usage } from "./types.js";

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
  deployment?: string;
  model?: string;
  cache?: CacheNote;
  to: number;
  text?: string;
  place?: number;
  wait_ms?: number;
  state: Status;
  usage?: Usage & { cost?: number };
  finish_reason?: string;
  error?: WireError;
}

export class Answer {
  text = "";
  reasoning = "";
  logprobs: TokenLogprob[] = [];
  rewinds = 0;
  status: Status = "queued";
  place: number | undefined;
  waitMs: number | undefined;
  model: string | undefined;
  deployment: string | undefined;
  attempt: number | undefined;
  cache: CacheNote | undefined;
  usage: (Usage & { cost?: number }) | undefined;
  finishReason: string | undefined;
  error: TidewireError | undefined;
  startedAt: number | undefined;
  endedAt: number | undefined;
  #marks: Mark[] = [];
  /** The event before was part of an answer. */
  #answering = false;

  /** False: what stands can't be told without what came before. */
  fold({ kind, data: raw, offset, at }: LogEvent): boolean {
    const data = raw as Data;
    const answers = ANSWERS.includes(kind);
    if (answers && !this.#answering) {
      if (this.#marks.push({ ...this.#lengths(), offset }) > MAX_MARKS) this.#marks.shift();
    }
    this.#answering = answers;
    switch (kind) {
      case "text":
        this.text += raw;
        break;
      case "reasoning":
        this.reasoning += raw;
        break;
      case "logprobs":
        if (this.logprobs.length < MAX_LOGPROBS) this.logprobs = this.logprobs.concat(raw as TokenLogprob[]);
        break;
      case "rewind":
        return this.#rewind(data.to);
      case "started":
        this.status = "running";
        this.place = this.waitMs = undefined;
        this.startedAt ??= at;
        ({ model: this.model, deployment: this.deployment, attempt: this.attempt, cache: this.cache } = data);
        break;
      case "delayed":
        this.place = data.place;
        this.waitMs = data.wait_ms;
        break;
      case "snapshot":
        this.text = data.text ?? "";
        break;
      case "end":
        this.status = data.state;
        this.place = this.waitMs = undefined;
        this.endedAt = at;
        this.usage = data.usage;
        this.finishReason = data.finish_reason;
        this.deployment = data.deployment ?? this.deployment;
        if (data.error) this.error = new TidewireError(data.error);
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
