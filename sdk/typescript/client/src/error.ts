// What can go wrong, as one type: the server's codes (PROTOCOL.md, Errors), and a few of this client's own.

/** How an error looks on the wire. */
export interface WireError {
  code: string;
  message: string;
  retry_after_ms?: number;
}

/**
 * An error with a stable `code`. Beside the server's own there are, made here: `network` (nobody answered), `closed` (the
 * client or the connection was closed for good), `too_many_pending` (more submits wait than may), `http_…` (something
 * between here and the server answered with that status).
 */
export class TidewireError extends Error {
  override readonly name = "TidewireError";
  readonly code: string;
  /** The HTTP status, where it came as one. */
  readonly status: number | undefined;
  /** When the server wants to be asked again. */
  readonly retryAfterMs: number | undefined;
  /** The request's name in the server's log. */
  readonly requestId: string | undefined;

  constructor(error: WireError, status?: number, requestId?: string) {
    super(error.message);
    this.code = error.code;
    this.status = status;
    this.retryAfterMs = error.retry_after_ms;
    this.requestId = requestId;
  }

  /** Nothing was taken, and the same request can be sent again by itself. Refusals over a limit are the caller's to repeat. */
  get transient(): boolean {
    return /^(network|unavailable|shutting_down|key_changed|too_many_follows)$|^http_5/.test(this.code);
  }
}

export const networkError = (message: string): TidewireError => new TidewireError({ code: "network", message });

export const closedError = (message = "the client was closed"): TidewireError =>
  new TidewireError({ code: "closed", message });

/** The log is another one than it was, or less of it is left: it is read again from its start. */
export const startsOver = (error: unknown): boolean =>
  error instanceof TidewireError && ["epoch_changed", "offset_in_future", "trimmed"].includes(error.code);

/** Why a log is read on no more, as an error. One that ended unseen was not as it was remembered. */
export function leftOff(reason = ""): TidewireError {
  const code = { ended: "epoch_changed", gone: "unknown_log" }[reason] ?? reason;
  return new TidewireError({ code, message: `the log can't be read on: ${code}` });
}
