// The client: one connection, one store for each log, and the requests that need neither.
import { Batch } from "./batch.js";
import { systemClock } from "./clock.js";
import { Connection } from "./connection.js";
import { Flusher } from "./flusher.js";
import { Http, query } from "./http.js";
import { Measures } from "./measures.js";
import type { Core, Store } from "./store.js";
import { idempotencyKey, wireTask } from "./submission.js";
import { Task, type From } from "./task.js";
import type {
  BatchSubmission,
  ConnectionStatus,
  FileRecord,
  Options,
  SocketLike,
  Submission,
  TaskFilter,
  TaskRecord,
} from "./types.js";

/** Logs that nobody follows now and that are remembered all the same, for a view that is opened again. */
const MAX_IDLE = 100;

export class Client {
  /** The connection's state, as a store. */
  readonly status: { subscribe: (listener: () => void) => () => void; readonly snapshot: ConnectionStatus };
  readonly #core: Core;
  readonly #connection: Connection;
  readonly #http: Http;
  readonly #measures: Measures;
  readonly #stores = new Map<string, WeakRef<Task | Batch>>();
  readonly #gone = new FinalizationRegistry<string>((id) => {
    if (!this.#stores.get(id)?.deref()) this.#stores.delete(id);
  });
  readonly #idle = new Set<Store<unknown>>();

  constructor({ url = location.origin, key, transport = "auto", report, environment = {} }: Options) {
    const { clock = systemClock, fetch: fetcher = fetch } = environment;
    const WebSocket = environment.WebSocket ?? (globalThis.WebSocket as (new (url: string) => SocketLike) | undefined);
    const flusher = new Flusher(clock);
    const http = (this.#http = new Http(url, key, fetcher, clock));
    this.#measures = new Measures(clock, report);
    const connection = (this.#connection = new Connection({ clock, http, flusher, WebSocket, transport }));
    this.#core = {
      clock,
      connection,
      flusher,
      held: (store, held) => this.#held(store, held),
      measured: (measure) => this.#measures.add(measure),
      follow: (id) => this.follow(id),
      followBatch: (id, tasks) => this.followBatch(id, tasks),
      named: (task) => this.#one(task.id, () => task),
    };
    this.status = connection;
  }

  #held(store: Store<unknown>, held: boolean): void {
    this.#idle.delete(store);
    if (held) return;
    this.#idle.add(store);
    for (const oldest of this.#idle) {
      if (this.#idle.size <= MAX_IDLE) break;
      this.#idle.delete(oldest);
    }
  }

  /** The same object for the same id, for as long as anybody has it. */
  #one<T extends Task | Batch>(id: string, make: () => T): T {
    const known = this.#stores.get(id)?.deref();
    if (known) return known as T;
    const store = make();
    this.#stores.set(id, new WeakRef(store));
    this.#gone.register(store, id);
    return store;
  }

  /** Resolves at the ack: then the task is kept by the server. An aborted `signal` unfollows, and stops nothing. */
  async submit(submission: Submission, { signal }: { signal?: AbortSignal } = {}): Promise<Task> {
    signal?.throwIfAborted();
    const task = this.send(submission);
    const forget = () => task.forget(signal?.reason);
    signal?.addEventListener("abort", forget);
    try {
      const acked = await task.acked;
      if (signal) acked.hold(signal);
      return acked;
    } finally {
      signal?.removeEventListener("abort", forget);
    }
  }

  /** As `submit`, and gives the task back at once, in the status `sending`: for a list that does not wait. */
  send(submission: Submission): Task {
    const key = submission.idempotencyKey ?? idempotencyKey();
    return new Task(this.#core, "", key).send(wireTask({ ...submission, idempotencyKey: key }));
  }

  /**
   * Any task, of any device. It is followed while somebody subscribes or reads, and with `signal` until that is aborted.
   * `from` is what one has of it, a kept snapshot for example; it counts where this client has nothing of it yet.
   */
  follow(id: string, { from, signal }: { from?: From; signal?: AbortSignal } = {}): Task {
    const task = this.#one(id, () => new Task(this.#core, id, id, from));
    if (signal) task.hold(signal);
    return task;
  }

  /** All of these tasks, or none. */
  async batch(submission: BatchSubmission): Promise<Batch> {
    const { tasks, defaults = {}, metadata } = submission;
    const body = {
      tasks: tasks.map(wireTask),
      defaults: wireTask(defaults),
      idempotency_key: submission.idempotencyKey ?? idempotencyKey(),
      metadata,
    };
    const made = await this.#http.json<{ id: string; tasks: string[] }>("POST", "v1/tasks/batch", { body });
    return this.followBatch(made.id, made.tasks);
  }

  followBatch(id: string, tasks?: string[]): Batch {
    return this.#one(id, () => new Batch(this.#core, id, tasks));
  }

  /** A page of tasks, newest first. */
  tasks(filter: TaskFilter = {}): Promise<{ tasks: TaskRecord[]; next?: string }> {
    return this.request("GET", `v1/tasks${query(filter)}`);
  }

  /** Keeps a file, which messages can name. */
  file(
    file: Blob,
    { name, purpose = "user_data", signal }: { name?: string; purpose?: string; signal?: AbortSignal } = {},
  ): Promise<FileRecord> {
    const body = new FormData();
    body.set("purpose", purpose);
    body.set("file", file, name ?? (file as File).name ?? "file");
    return this.request("POST", "v1/files", { body, signal });
  }

  /** What a person thinks of a task's answer. */
  async feedback(
    id: string,
    body: { score: number | "up" | "down"; comment?: string; tags?: string[] },
  ): Promise<void> {
    await this.#http.send("POST", `v1/tasks/${id}/feedback`, { body });
  }

  /** Any other request of PROTOCOL.md: a path without its first slash. */
  request<T>(method: string, path: string, ask?: { body?: unknown; signal?: AbortSignal | undefined }): Promise<T> {
    return this.#http.json<T>(method, path, ask);
  }

  /** For good. Tasks go on. */
  close(): void {
    this.#measures.flush();
    this.#connection.close();
  }
}

/** Opens a connection, and keeps it open. */
export const connect = (options: Options = {}): Client => new Client(options);
