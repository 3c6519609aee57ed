// What a caller hands in and gets back. PROTOCOL.md says what the fields mean.
import type { Clock } from "./clock.js";
import type { TidewireError } from "./error.js";
import type { Key } from "./http.js";

export interface Message {
  role: string;
  content: unknown;
  [field: string]: unknown;
}

/** One user message, several messages, or OpenAI chat JSON, of which unknown fields reach the model untouched. */
export type Input = string | Message[] | { messages: Message[]; [field: string]: unknown };

export interface Submission {
  input: Input;
  /** The public name of the model: a route. */
  route?: string | undefined;
  /** One key, one task. Made here where it is left out, so that a submit that is sent again makes no second task. */
  idempotencyKey?: string | undefined;
  lane?: string | undefined;
  onBusy?: "queue" | "steer" | "replace" | undefined;
  priority?: "interactive" | "normal" | "bulk" | undefined;
  durability?: "durable" | "transient" | undefined;
  onDisconnect?: "continue" | "stop" | undefined;
  deadlineMs?: number | undefined;
  maxAttempts?: number | undefined;
  parent?: string | undefined;
  budget?: { steps?: number; tokens?: number; timeMs?: number } | undefined;
  startAt?: number | undefined;
  delayMs?: number | undefined;
  needs?: string[] | undefined;
  metadata?: Record<string, unknown> | undefined;
  public?: boolean | undefined;
  user?: string | undefined;
  traceparent?: string | undefined;
  tracestate?: string | undefined;
}

export type Status = "sending" | "queued" | "running" | "done" | "failed" | "stopped";

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cached_tokens?: number;
  cache_write_tokens?: number;
  reasoning_tokens?: number;
  estimated?: boolean;
}

/** Where an answer came from that was not made for this task. */
export interface CacheNote {
  state: "hit" | "stale" | "joined";
  age_ms: number;
  task?: string;
  reason?: string;
}

/** One token of OpenAI's `logprobs.content`. */
export interface TokenLogprob {
  token: string;
  logprob: number;
  bytes?: number[] | null;
  top_logprobs?: { token: string; logprob: number; bytes?: number[] | null }[];
}

/** The place in a log of the last event that somebody has. */
export interface Place {
  epoch: number;
  offset: number;
}

/** A tool that the model wants to be called. While it streams, `arguments` is the beginning of its JSON. */
export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

/** A task as of one moment. It never changes: a change makes a new one. */
export interface Snapshot {
  /** Empty until the ack. */
  readonly id: string;
  /** The idempotency key of a task that this client submitted, else the id: the same before and after the ack. */
  readonly key: string;
  readonly status: Status;
  /** The answer's text, with each rewind obeyed. */
  readonly text: string;
  readonly reasoning: string;
  /** Where the text is as of; -1 before the first event. */
  readonly epoch: number;
  readonly offset: number;
  /** How many are ahead of it, while it waits, and for how long by estimate. */
  readonly place?: number;
  readonly waitMs?: number;
  readonly error?: TidewireError;
  readonly usage?: Usage;
  /** US dollars, where it cost something. */
  readonly cost?: number;
  readonly finishReason?: string;
  /** From submit() to the first text that arrived. Only of tasks that this client submitted. */
  readonly ttftMs?: number;
  /** From submit() to the first painted frame with text in it, where somebody subscribed. */
  readonly ttarMs?: number;
  readonly model?: string;
  readonly deployment?: string;
  readonly attempt?: number;
  readonly cache?: CacheNote;
  /** How often text was taken back. */
  readonly rewinds: number;
  readonly logprobs?: readonly TokenLogprob[];
  readonly toolCalls?: readonly ToolCall[];
  /** The server's clock, in ms since the Unix epoch. */
  readonly startedAt?: number;
  /** When the first text or reasoning was written. */
  readonly firstAt?: number;
  readonly endedAt?: number;
}

/** An event as it arrives: `text` and `reasoning` may cover several offsets. */
export interface LogEvent extends Place {
  count: number;
  kind: string;
  data: unknown;
  /** When it was written, in ms since the Unix epoch. */
  at: number;
}

/** What to do to a text: cut it to `rewindTo` characters where that is there, then append `text`. */
export interface TextPart {
  text: string;
  rewindTo?: number;
}

/** A task as `GET /v1/tasks` gives it, in the words of the wire. */
export interface TaskRecord {
  id: string;
  state: Exclude<Status, "sending">;
  model: string;
  submitted_at: number;
  attempts: number;
  place?: number;
  wait_ms?: number;
  ended_at?: number;
  end?: { state: string; usage?: Usage; finish_reason?: string; error?: { code: string; message: string } };
  metadata?: Record<string, unknown>;
  batch?: string;
  lane?: string;
  [field: string]: unknown;
}

export interface TaskFilter {
  state?: string | string[] | undefined;
  model?: string | undefined;
  parent?: string | undefined;
  batch?: string | undefined;
  lane?: string | undefined;
  code?: string | undefined;
  limit?: number | undefined;
  cursor?: string | undefined;
}

export interface BatchSubmission {
  tasks: Submission[];
  defaults?: Partial<Submission>;
  idempotencyKey?: string;
  metadata?: Record<string, unknown>;
}

export interface BatchItem {
  readonly id: string;
  /** Once it has ended. */
  readonly status?: "done" | "failed" | "stopped";
  readonly error?: { code: string; message: string };
}

/** A batch as of one moment. */
export interface BatchSnapshot {
  readonly id: string;
  readonly status: "running" | "done" | "failed" | "stopped";
  readonly total: number;
  readonly done: number;
  readonly failed: number;
  readonly stopped: number;
  /** In the order in which they were given. */
  readonly tasks: readonly BatchItem[];
  readonly epoch: number;
  readonly offset: number;
  readonly usage?: Usage;
  readonly error?: TidewireError;
}

export interface FileRecord {
  id: string;
  bytes: number;
  created_at: number;
  filename: string;
  purpose: string;
  status: "uploaded" | "processed" | "error";
  status_details?: string;
  sha256?: string;
  text_bytes?: number;
  expires_at?: number;
}

export type Transport = "websocket" | "sse";

export interface ConnectionStatus {
  /** `waiting`: for the next attempt, `retryInMs` after this was told. `offline`: the browser has no network, or nobody has
   * answered for 3 s; attempts go on. `closed`: for good, because of `error` or of `close()`. */
  readonly state: "connecting" | "open" | "waiting" | "offline" | "closed";
  readonly transport: Transport;
  readonly roundTripMs?: number;
  /** The server's. */
  readonly version?: string;
  readonly retryInMs?: number;
  readonly error?: TidewireError;
}

/** How long a person waited. */
export interface Measure {
  task: string;
  name: "ttft" | "ttar";
  ms: number;
}

/** What a WebSocket is to this client. */
export interface SocketLike {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: (() => void) | null;
  send(text: string): void;
  close(): void;
}

export interface Options {
  /** Where the server is. Default: where this page comes from. */
  url?: string;
  /** A key or token, or what gives the one that is valid now. It is sent in headers and never in a URL. */
  key?: Key;
  /** `auto`: server-sent events where WebSockets are refused twice and HTTP works. */
  transport?: "auto" | Transport;
  /** Gets what was measured, some at a time. An error that it throws is passed over. */
  report?: (measures: Measure[]) => void | Promise<void>;
  /** The outside, for tests and for programs without a browser. */
  environment?: {
    WebSocket?: new (url: string) => SocketLike;
    fetch?: typeof fetch;
    clock?: Clock;
  };
}
