// Requests beside the connection: who asks is told in a header, and errors come back typed.
import type { Clock } from "./clock.js";
import { TidewireError, networkError, type WireError } from "./error.js";

export type Key = string | (() => string | undefined | Promise<string | undefined>);

export interface Ask {
  /** Sent as JSON, but for a form. */
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** Given up as lost where nobody has answered by then: a dead connection answers nothing. */
  withinMs?: number;
}

/** Text of an answer that is no error of ours: a proxy's page. As much of it as fits a line. */
const FOREIGN_CHARS = 200;

export class Http {
  readonly base: URL;
  readonly key: Key | undefined;
  readonly #fetch: typeof fetch;
  readonly #clock: Clock;

  constructor(base: string, key: Key | undefined, fetcher: typeof fetch, clock: Clock) {
    this.base = new URL(base.replace(/\/?$/, "/"));
    this.key = key;
    this.#fetch = fetcher;
    this.#clock = clock;
  }

  async currentKey(): Promise<string | undefined> {
    return typeof this.key === "function" ? this.key() : this.key;
  }

  /** The answer, where it is a good one; else a `TidewireError`. */
  async send(method: string, path: string, { body, headers = {}, signal, withinMs }: Ask = {}): Promise<Response> {
    const key = await this.currentKey();
    if (key) headers = { ...headers, authorization: `Bearer ${key}` };
    const form = body instanceof FormData;
    if (body !== undefined && !form) headers = { ...headers, "content-type": "application/json" };
    const late = new AbortController();
    const timer = withinMs && this.#clock.after(withinMs, () => late.abort());
    const init: RequestInit = {
      method,
      headers,
      signal: AbortSignal.any(signal ? [signal, late.signal] : [late.signal]),
    };
    if (body !== undefined) init.body = form ? body : JSON.stringify(body);
    let response;
    try {
      response = await this.#fetch.call(globalThis, new URL(path, this.base), init);
    } catch (error) {
      signal?.throwIfAborted();
      throw networkError(`no answer from ${this.base.host}: ${error instanceof Error ? error.message : error}`);
    } finally {
      if (timer) timer();
    }
    if (!response.ok) throw await refusal(response);
    return response;
  }

  async json<T>(method: string, path: string, ask?: Ask): Promise<T> {
    const response = await this.send(method, path, ask);
    try {
      return (await response.json()) as T;
    } catch {
      ask?.signal?.throwIfAborted();
      throw networkError(`the answer of ${this.base.host} broke off`);
    }
  }
}

async function refusal(response: Response): Promise<TidewireError> {
  const { status, headers } = response;
  const text = await response.text().catch(() => "");
  let error: WireError | undefined;
  try {
    error = (JSON.parse(text) as { error?: WireError }).error;
  } catch {
    // Not ours: a proxy's.
  }
  const seconds = Number(headers.get("retry-after") || NaN);
  const told: WireError = {
    code: error?.code ?? `http_${status}`,
    message: error?.message ?? `${status}: ${text.slice(0, FOREIGN_CHARS)}`,
  };
  const wait = error?.retry_after_ms ?? (seconds >= 0 ? seconds * 1000 : undefined);
  if (wait !== undefined) told.retry_after_ms = wait;
  return new TidewireError(told, status, headers.get("x-request-id") ?? undefined);
}

/** `?a=1&b=2` of what is there. A list is joined by commas. */
export function query(parameters: object): string {
  const pairs = new URLSearchParams(snaked(parameters) as Record<string, string>);
  return pairs.size ? `?${pairs}` : "";
}

/** `maxAttempts` is `max_attempts` on the wire. */
export const snaked = (fields: object): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(defined(fields)).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Only what is there. */
export const defined = <T extends object>(fields: T): Defined<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
