// What a task's events amount to.
import { TidewireError, type WireError } from "./error.js";
import type { CacheNote, LogEvent, Snapshot, Status, TokenLogprob, ToolCall, Usage } from "./types.js";

/** The tokens of a long answer, and pieces of tool calls. Those after it are not kept. */
const MAX_PIECES = 32_768;
/** Attempts of a task, and the deployments that each may ask: far above both. */
const MAX_MARKS = 1_024;

/** What an answer is made of, by the names of its events. */
const PARTS = ["text", "reasoning", "tool_call", "logprobs"] as const;
type Part = (typeof PARTS)[number];

/** How long everything was where an answer began. */
type Mark = Record<Part, number> & { offset: number };

/** A piece of a tool call, as OpenAI streams it. */
interface ToolPiece {
  index?: number;
  id?: string;
  function?: { name?: string; arguments?: string };
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
      | "firstAt"
      | "endedAt"
      | "ttftMs"
      | "ttarMs"
  ]?: Snapshot[K] | undefined;
};

export class Answer {
  text = "";
  reasoning = "";
  tool_call: ToolPiece[] = [];
  logprobs: TokenLogprob[] = [];
  rewinds = 0;
  known: Known = { status: "queued" };
  #marks: Mark[] = [];
  /** The event before was part of an answer. */
  #answering = false;

  /** False: what stands can't be told without what came before. */
  fold({ kind, data: raw, offset, at }: LogEvent): boolean {
    const { known } = this;
    const data = (raw ?? {}) as Data;
    const part = PARTS.find((part) => part === kind);
    if (part) {
      const lengths = () => Object.fromEntries(PARTS.map((part) => [part, this[part].length])) as Record<Part, number>;
      if (!this.#answering && this.#marks.push({ ...lengths(), offset }) > MAX_MARKS) this.#marks.shift();
      known.firstAt ??= at;
      // Strings and lists alike.
      const more = raw as string;
      if (typeof raw === "string" || this[part].length < MAX_PIECES)
        this[part] = (this[part] as string).concat(more) as never;
    } else {
      const { place, wait_ms: waitMs, deployment = known.deployment } = data;
      Object.assign(known, { place, waitMs, deployment });
    }
    this.#answering = !!part;
    if (kind === "rewind") return this.#rewind(data.to);
    if (kind === "snapshot") this.text = data.text ?? "";
    if (kind === "started") {
      const { model, attempt, cache } = data;
      known.startedAt ??= at;
      Object.assign(known, { status: "running", model, attempt, cache });
    }
    if (kind === "end") {
      const { state: status, usage, finish_reason: finishReason } = data;
      const error = data.error && new TidewireError(data.error);
      const cost = (usage?.cost_nanousd ?? 0) / 1e9;
      Object.assign(known, { status, endedAt: at, usage, cost, finishReason, error });
    }
    return true;
  }

  get toolCalls(): ToolCall[] {
    const calls: ToolCall[] = [];
    for (const { index = 0, id = "", function: { name = "", arguments: more = "" } = {} } of this.tool_call) {
      const call = (calls[index] ??= { id, name, arguments: "" });
      call.arguments += more;
    }
    return calls.filter(Boolean);
  }

  #rewind(to: number): boolean {
    const at = this.#marks.findIndex(({ offset }) => offset >= to);
    const mark = this.#marks[at];
    if (mark?.offset !== to) return false;
    this.rewinds += 1;
    for (const part of PARTS) this[part] = this[part].slice(0, mark[part]) as never;
    this.#marks.length = at;
    return true;
  }
}
