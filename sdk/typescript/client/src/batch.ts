// A batch: many tasks, and one log that reports how far they have come.
import { TidewireError, type WireError } from "./error.js";
import { defined } from "./http.js";
import { Store, type Core } from "./store.js";
import type { BatchItem, BatchSnapshot, LogEvent, Usage } from "./types.js";

interface Data {
  tasks: string[];
  task: string;
  index: number;
  state: "done" | "failed" | "stopped";
  error?: WireError;
  usage?: Usage;
  done: number;
  failed: number;
  stopped: number;
  total: number;
}

/** What a log tells of its batch; what is undefined is not known. */
type Told = {
  -readonly [K in Exclude<keyof BatchSnapshot, "id" | "epoch" | "offset" | "tasks">]: BatchSnapshot[K] | undefined;
};

export class Batch extends Store<BatchSnapshot> {
  #tasks: BatchItem[] = [];
  #changed = false;
  #told!: Partial<Told>;

  constructor(core: Core, id: string, tasks: string[] = []) {
    super(core, id);
    this.#begin(tasks);
  }

  #begin(tasks: string[]): void {
    this.#tasks = tasks.map((id) => ({ id }));
    this.#told = { status: "running", total: tasks.length, done: 0, failed: 0, stopped: 0 };
  }

  get path(): string {
    return `v1/tasks/batch/${this.id}`;
  }

  protected fold({ kind, data: raw }: LogEvent): void {
    const { tasks, task: id, index, state: status, error, total, done, failed, stopped, usage } = (raw ?? {}) as Data;
    if (kind === "batch") {
      this.#begin(tasks);
    } else if (kind === "progress") {
      // A list that somebody has is not changed under them.
      if (!this.#changed) this.#tasks = this.#tasks.slice();
      this.#changed = true;
      this.#tasks[index] = { id, status, ...(error && { error }) };
      Object.assign(this.#told, { total, done, failed, stopped });
    } else if (kind === "end") {
      Object.assign(this.#told, { status, usage, error: error && new TidewireError(error) });
      this.settled = true;
    }
  }

  protected clear(): void {
    this.#begin([]);
  }

  override fail(error: TidewireError, ofLog: boolean): void {
    if (ofLog) this.#told.status = "failed";
    this.#told.error ??= error;
    super.fail(error, ofLog);
  }

  protected build(): BatchSnapshot {
    this.#changed = false;
    const { id, epoch = 0, next } = this;
    return defined({ id, ...this.#told, tasks: this.#tasks, epoch, offset: next - 1 }) as BatchSnapshot;
  }

  /** How it ended. */
  async result({ signal }: { signal?: AbortSignal } = {}): Promise<BatchSnapshot> {
    await this.until(() => (this.settled && !this.failed) || undefined, signal);
    return this.build();
  }

  /** Stops these of its tasks, or all; they end shortly after. */
  async stop(tasks?: string[]): Promise<void> {
    await this.#post("stop", tasks);
  }

  /** A new batch of these that failed, or of all that did. */
  async retry(tasks?: string[]): Promise<Batch> {
    const { id, tasks: all } = await this.#post<{ id: string; tasks: string[] }>("retry", tasks);
    return this.core.followBatch(id, all);
  }

  #post<T>(what: string, tasks?: string[]): Promise<T> {
    return this.core.connection.http.json<T>("POST", `${this.path}/${what}`, { body: { tasks } });
  }
}
