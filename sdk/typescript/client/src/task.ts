// A task: what is known of it, its answer as it comes, and what can be done with it.
import { Answer, type Known } from "./answer.js";
import { TidewireError } from "./error.js";
import { defined } from "./http.js";
import { Store, type Core } from "./store.js";
import type { LogEvent, Place, Snapshot, TaskRecord, TextPart } from "./types.js";
import type { Ack, Submit } from "./wire.js";

/** Where to begin: the last event that one has, and the text up to it where that is wanted too. A snapshot is one. */
export type From = Place & { text?: string; reasoning?: string };

/** What a reader of the text has got, and how little of it stands since. */
interface Reader {
  sent: number;
  stands: number | undefined;
}

interface Waiting {
  submit: Submit;
  resolve: (task: Task) => void;
  reject: (error: unknown) => void;
}

export class Task extends Store<Snapshot> {
  /** The same before and after the ack: for the rows of a list. */
  readonly key: string;
  #answer = new Answer();
  /** What it was seeded with: it can't be rewound into. */
  #seeded = false;
  #sentAt: number | undefined;
  #painting = false;
  #acked: Promise<Task> = Promise.resolve(this);
  #waiting: Waiting | undefined;
  #frame: Record<string, unknown> | undefined;
  /** The store of the same task, where this client had one before the ack. */
  #twin: Task | undefined;
  readonly #readers = new Set<Reader>();

  constructor(core: Core, id: string, key = id, from?: From) {
    super(core, id);
    this.key = key;
    if (!from || from.offset < 0) return;
    this.epoch = from.epoch;
    this.next = from.offset + 1;
    this.#seeded = true;
    this.#answer.text = from.text ?? "";
    this.#answer.reasoning = from.reasoning ?? "";
  }

  get #known(): Known {
    return this.#answer.known;
  }

  get path(): string {
    return `v1/tasks/${this.id}`;
  }

  /** Resolves at the ack; rejects where the task was refused. */
  get acked(): Promise<Task> {
    return this.#acked;
  }

  /** Puts it on its way. `frame` is the task in the words of the wire. */
  send(frame: Record<string, unknown>): this {
    this.#frame = frame;
    this.#answer = new Answer();
    this.#known.status = "sending";
    this.#sentAt = this.core.clock.now();
    this.#acked = new Promise((resolve, reject) => {
      const submit: Submit = {
        task: frame,
        cursor: this,
        tries: 0,
        acked: (ack) => this.#named(ack),
        refused: (error) => this.#refused(error),
      };
      this.#waiting = { submit, resolve, reject };
      this.core.connection.submit(submit);
    });
    // Whoever waits for it hears; nobody has to.
    this.#acked.catch(() => {});
    this.changed();
    return this;
  }

  /** Before the ack nobody waits for it any more. */
  forget(reason: unknown): void {
    if (!this.#waiting) return;
    this.core.connection.forget(this.#waiting.submit);
    this.#refused(new TidewireError({ code: "closed", message: "aborted before its ack" }), reason);
  }

  #refused(error: TidewireError, reason: unknown = error): void {
    Object.assign(this.#known, { status: "failed", error });
    this.#waiting?.reject(reason);
    this.#waiting = undefined;
    this.changed();
  }

  #named({ id, epoch, state, place, wait_ms: waitMs }: Ack): void {
    this.id = id;
    // What ended long ago is told by its log: until that is read, nothing is known of how.
    Object.assign(this.#known, { status: state === "queued" ? state : "running", place, waitMs });
    const same = this.core.named(this);
    const { resolve } = this.#waiting!;
    this.#waiting = undefined;
    if (same === this) {
      this.epoch = epoch;
      this.core.connection.adopt(this);
      // Unfollowed after a while, unless somebody wants it.
      this.hold()();
    } else {
      this.#twin = same;
      const leave = same.subscribe(() => {
        this.changed();
        if (same.settled) leave();
      });
    }
    resolve(same);
    this.changed();
  }

  protected build(): Snapshot {
    if (this.#twin) return { ...this.#twin.snapshot, key: this.key };
    const { id, key, epoch = 0, next } = this;
    const { text, reasoning, rewinds, logprobs, toolCalls, known } = this.#answer;
    const some = { logprobs: logprobs[0] && logprobs, toolCalls: toolCalls[0] && toolCalls };
    return defined({ id, key, text, reasoning, epoch, offset: next - 1, rewinds, ...known, ...some }) as Snapshot;
  }

  protected fold(event: LogEvent): void {
    const { kind } = event;
    const before = this.#answer.text.length;
    if (!this.#answer.fold(event)) {
      // Without the beginning it is not known how much still stands.
      if (this.#seeded) this.restart();
      return;
    }
    if (this.#answer.text.length < before) this.#cut(this.#answer.text.length);
    if (kind === "text") this.#measure("ttft");
    if (kind === "end") this.settled = true;
  }

  protected clear(): void {
    const { status, ttftMs, ttarMs } = this.#known;
    this.#answer = new Answer();
    this.#answer.known = { status, ttftMs, ttarMs };
    this.#seeded = false;
    this.#cut(0);
  }

  #cut(length: number): void {
    for (const reader of this.#readers) {
      if (length < reader.sent) reader.stands = Math.min(reader.stands ?? length, length);
    }
  }

  override waiting(place: number | undefined, waitMs: number | undefined): void {
    Object.assign(this.#known, { place, waitMs });
    this.changed();
  }

  override fail(error: TidewireError, ofLog: boolean): void {
    if (ofLog) this.#known.status = "failed";
    this.#known.error ??= error;
    super.fail(error, ofLog);
  }

  override tell(): void {
    super.tell();
    if (this.#painting || !this.watched || !this.#answer.text) return;
    this.#painting = true;
    // Nobody looked: how long the page was hidden is no wait for an answer.
    if (globalThis.document?.hidden) return;
    // What a frame's callbacks change is painted right after them, before the next timer.
    this.core.clock.after(0, () => this.#measure("ttar"));
  }

  /** How long it took since it was sent; once. */
  #measure(name: "ttft" | "ttar"): void {
    if (this.#sentAt === undefined || this.#known[`${name}Ms`] !== undefined) return;
    const ms = (this.#known[`${name}Ms`] = this.core.clock.now() - this.#sentAt);
    this.core.measured({ task: this.id, name, ms });
    this.changed();
  }

  /** The answer's text as it comes, from its beginning. What piled up while the caller was busy comes in one part. */
  async *text({ signal }: { signal?: AbortSignal | undefined } = {}): AsyncGenerator<TextPart> {
    const task = await this.#acked;
    if (task !== this) return yield* task.text({ signal });
    const reader: Reader = { sent: 0, stands: undefined };
    this.#readers.add(reader);
    try {
      for (;;) {
        const news = () => {
          const { text } = this.#answer;
          if (reader.stands === undefined && text.length === reader.sent) return this.settled ? null : undefined;
          const part: TextPart = { text: text.slice(reader.stands ?? reader.sent) };
          if (reader.stands !== undefined) part.rewindTo = reader.stands;
          reader.sent = text.length;
          reader.stands = undefined;
          return part;
        };
        const part = await this.until(news, signal);
        if (!part) return;
        yield part;
      }
    } finally {
      this.#readers.delete(reader);
    }
  }

  /** How it ended: done, failed or stopped. Rejects where that can't be known. */
  async result({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<Snapshot> {
    const task = await this.#acked;
    if (task !== this) return task.result({ signal });
    await this.until(() => (this.settled && !this.failed) || undefined, signal);
    return this.build();
  }

  /** Stops it on the server, for everybody; of a task that is being sent, as soon as it is there. */
  async stop(): Promise<TaskRecord> {
    const { path, core } = await this.#acked;
    return core.connection.http.json<TaskRecord>("POST", `${path}/stop`);
  }

  /** Tries it again: what was refused by the same key, what failed as a new task, which is given back. */
  async retry(): Promise<Task> {
    if (!this.id && this.#frame && !this.#waiting) return this.send(this.#frame).acked;
    const { path, core } = await this.#acked;
    return core.follow((await core.connection.http.json<Ack>("POST", `${path}/retry`)).id);
  }
}
