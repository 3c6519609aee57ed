// The WebSocket wire: one socket, many logs. PROTOCOL.md, WebSocket, says what goes over it.
import type { Cancel } from "./clock.js";
import { TidewireError, leftOff, networkError, type WireError } from "./error.js";
import { defined } from "./http.js";
import { submitByHttp } from "./submission.js";
import type { SocketLike } from "./types.js";
import { ANSWER_MS, resume, type Cursor, type Host, type Submit, type Wire, type WireEvent } from "./wire.js";

const PING_EVERY_MS = 10_000;
/** The server's default for a frame, which counts bytes. A larger task goes over HTTP, where its refusal has a status. */
const MAX_FRAME_CHARS = 1024 * 1024;

interface Frame {
  op: string;
  ref?: string;
  log?: string;
  task?: string;
  epoch: number;
  events: WireEvent[];
  reason?: string;
  place?: number;
  wait_ms?: number;
  state: string;
  error: WireError;
}

interface Followed {
  cursor: Cursor;
  /** The follow that was not answered yet: what arrives before its answer is from an older place. */
  ref?: string | undefined;
}

export class SocketWire implements Wire {
  readonly #host: Host;
  readonly #asked = new Map<string, (frame: Frame) => void>();
  readonly #followed = new Map<string, Followed>();
  readonly #abort = new AbortController();
  #socket: SocketLike | undefined;
  #open = false;
  #refs = 0;
  #silence: Cancel | undefined;
  #rhythm: Cancel | undefined;

  constructor(host: Host) {
    this.#host = host;
    this.#expect();
    void this.#dial();
  }

  async #dial(): Promise<void> {
    const { http, WebSocket } = this.#host;
    const signal = this.#abort.signal;
    try {
      // The host knows its wire before it hears of it.
      await undefined;
      const url = new URL("v1/ws", http.base);
      url.protocol = url.protocol.replace("http", "ws");
      if (http.key !== undefined) {
        const { ticket } = await http.json<{ ticket: string }>("POST", "v1/tickets", { signal });
        url.searchParams.set("ticket", ticket);
      }
      if (signal.aborted) return;
      if (!WebSocket) return this.#lose({ refused: true });
      const socket = (this.#socket = new WebSocket(url.href));
      socket.onopen = () => {
        this.#open = true;
        this.#host.opened();
        this.ping();
      };
      socket.onmessage = ({ data }) => this.#hear(String(data));
      socket.onclose = ({ code, reason }) => this.#lose({ code, reason, refused: !this.#open });
      socket.onerror = () => {};
    } catch (error) {
      if (!signal.aborted) this.#lose({ error: error instanceof TidewireError ? error : networkError(String(error)) });
    }
  }

  #lose(loss: Parameters<Host["lost"]>[0]): void {
    this.close();
    this.#host.lost(loss);
  }

  close(): void {
    this.#silence?.();
    this.#rhythm?.();
    this.#abort.abort();
    const socket = this.#socket;
    if (!socket) return;
    // A close on a dead network takes minutes, so the old socket is let go of, not waited for.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** Gives the socket up when nothing is heard for a while. */
  #expect(): void {
    this.#silence?.();
    this.#silence = this.#host.clock.after(ANSWER_MS, () =>
      this.#lose({ error: networkError("the server is silent") }),
    );
  }

  ping(): void {
    if (!this.#open) return;
    const at = this.#host.clock.now();
    this.#rhythm?.();
    this.#rhythm = this.#host.clock.after(PING_EVERY_MS, () => this.ping());
    this.#ask({ op: "ping" }, () => this.#host.heard(this.#host.clock.now() - at));
    this.#expect();
  }

  #ask(frame: object, answered: (frame: Frame) => void): string {
    const ref = String(++this.#refs);
    this.#asked.set(ref, answered);
    this.#socket?.send(JSON.stringify({ ...frame, ref }));
    return ref;
  }

  #hear(text: string): void {
    this.#silence?.();
    const frame = JSON.parse(text) as Frame;
    const followed = this.#followed.get(frame.log ?? frame.task ?? "");
    if (frame.op === "events" && followed && !followed.ref) {
      if (!this.#host.took(followed.cursor, frame.epoch, frame.events)) this.follow(followed.cursor);
    } else if (frame.op === "waiting") {
      followed?.cursor.waiting(frame.place, frame.wait_ms);
    } else if (frame.op === "unfollowed" && followed) {
      const { cursor } = followed;
      this.#followed.delete(cursor.id);
      // It was followed again before the answer came.
      if (frame.reason === "asked") this.follow(cursor);
      else if (!cursor.settled) this.#leave(cursor, leftOff(frame.reason));
    }
    const answered = frame.ref && this.#asked.get(frame.ref);
    if (!answered) return;
    this.#asked.delete(frame.ref!);
    answered(frame);
  }

  follow(cursor: Cursor): void {
    const followed: Followed = { cursor };
    this.#followed.set(cursor.id, followed);
    const ref = this.#ask({ op: "follow", log: cursor.id, ...resume(cursor) }, ({ op, error }) => {
      // A newer follow of the same log has taken its place.
      if (followed.ref !== ref || this.#followed.get(cursor.id) !== followed) return;
      followed.ref = undefined;
      if (op === "error") this.#leave(cursor, new TidewireError(error));
    });
    followed.ref = ref;
  }

  unfollow(cursor: Cursor): void {
    if (this.#followed.delete(cursor.id)) this.#ask({ op: "unfollow", log: cursor.id }, () => {});
  }

  #leave(cursor: Cursor, error: TidewireError): void {
    this.#followed.delete(cursor.id);
    this.#host.unfollowable(cursor, error);
  }

  submit(submit: Submit): void {
    const { task, cursor } = submit;
    if (JSON.stringify(task).length > MAX_FRAME_CHARS) return submitByHttp(this.#host, submit, this.#abort.signal);
    // Its events come with the ack, on the same way; not where it was refused once for being a follow too many.
    const follow = !submit.tries;
    this.#ask({ op: "submit", task, follow }, ({ op, error, task: id = "", epoch, state, place, wait_ms }) => {
      if (op === "error") return this.#host.refused(submit, new TidewireError(error));
      const wanted = this.#host.acked(submit, { id, epoch, state, ...defined({ place, wait_ms }) }, follow);
      if (!follow || this.#followed.has(id)) return;
      // Its events follow from the start.
      if (wanted) this.#followed.set(id, { cursor });
      else this.#ask({ op: "unfollow", log: id }, () => {});
    });
  }
}
