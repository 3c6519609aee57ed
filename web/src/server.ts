// The server, as this page speaks to it: the SDK for tasks and their logs, and plain requests for the rest.
import { connect, TidewireError, type Measure, type TaskRecord } from "@tidewire/client";

// Under the time after which proxies give up on a silent request.
const LANES_WAIT_MS = 50_000;

export const base = new URL("./", document.baseURI);

export const client = connect({ url: base.href, report });

/** How long this page's users waited, for the server's metrics. What can't be sent is let go of. */
async function report(measures: Measure[]): Promise<void> {
  await call("v1/measures", { json: { measures }, keepalive: true });
}

type Asked = RequestInit & { json?: unknown };

/** One request. Whatever goes wrong is a `TidewireError` with a code and the request's name in the server's log. */
export async function call<T>(path: string, init: Asked = {}): Promise<T> {
  const answer = await ask(path, init);
  const text = await answer.text();
  return (answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text) as T;
}

/** The same, for an answer that is read as it comes. */
export async function ask(path: string, init: Asked = {}): Promise<Response> {
  const { json, ...rest } = init;
  const headers = new Headers(rest.headers);
  if (json !== undefined) headers.set("content-type", "application/json");
  let answer: Response;
  try {
    answer = await fetch(new URL(path, base), {
      method: json === undefined ? "GET" : "POST",
      ...rest,
      headers,
      body: json === undefined ? null : JSON.stringify(json),
    });
  } catch (error) {
    throw new TidewireError({ code: "network", message: `The server did not answer: ${(error as Error).message}` });
  }
  const request = answer.headers.get("x-request-id") ?? undefined;
  if (!answer.ok && answer.status !== 304) {
    const body = (await answer.json().catch(() => undefined)) as
      { error?: { code: string; message: string; retry_after_ms?: number } } | undefined;
    throw new TidewireError(
      body?.error ?? { code: `http_${answer.status}`, message: answer.statusText },
      answer.status,
      request,
    );
  }
  return answer;
}

export interface Caller {
  name: string;
  tenant: string;
  key?: string;
  user?: string;
  role?: string;
  scopes: string[];
}
/** A lane as `GET /v1/lanes` gives it. */
export interface Lane {
  lane: string;
  tasks: number;
  last_task: string;
  last_at: number;
  state: string;
  /** The beginning of its first prompt. */
  title?: string;
}
export interface Page {
  tasks: TaskRecord[];
  next?: string;
}

export const session = {
  who: () => call<Caller>("v1/session"),
  ways: () => call<{ needed: boolean; ways: string[] }>("v1/session/ways"),
  begin: (key: string) => call<Caller>("v1/session", { json: { key } }),
  end: () => call<string>("v1/session", { method: "DELETE" }),
};

export const models = () => call<{ data: { id: string }[] }>("v1/models").then(({ data }) => data.map(({ id }) => id));

/** A page of tasks, newest first. */
export function tasks(filter: Record<string, string | number | undefined>): Promise<Page> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filter))
    if (value !== undefined && value !== "") query.set(name, String(value));
  return call<Page>(`v1/tasks?${query}`);
}

export interface Lanes {
  lanes: Lane[];
  next?: string;
}

/** A page of lanes, those first in which something was asked last. */
export function lanes(limit: number, cursor?: string): Promise<Lanes> {
  const query = new URLSearchParams({ limit: String(limit), ...(cursor ? { cursor } : {}) });
  return call(`v1/lanes?${query}`);
}

/** The first page once it is another than the one with this tag; none where it stays the same for as long as the server waits. */
export async function newLanes(
  limit: number,
  tag: string | undefined,
  signal: AbortSignal,
): Promise<{ page?: Lanes; tag: string | undefined }> {
  const wait = tag ? `&wait_ms=${LANES_WAIT_MS}` : "";
  const answer = await ask(`v1/lanes?limit=${limit}${wait}`, {
    signal,
    cache: "no-store",
    headers: tag ? { "if-none-match": tag } : {},
  });
  if (answer.status === 304) return { tag };
  return { page: (await answer.json()) as Lanes, tag: answer.headers.get("etag") ?? undefined };
}

/** The words of an error for a person, and the code that names it. */
export const told = (error: unknown): { code: string; message: string; requestId?: string } => {
  if (error instanceof TidewireError)
    return { code: error.code, message: error.message, ...(error.requestId ? { requestId: error.requestId } : {}) };
  return { code: "internal", message: error instanceof Error ? error.message : String(error) };
};
