// What goes between the connection and its two kinds of wire.
import type { Clock } from "./clock.js";
import type { TidewireError } from "./error.js";
import type { Http } from "./http.js";
import type { SocketLike } from "./types.js";

/** An event as it is on the wire. */
export interface WireEvent {
  offset: number;
  count?: number;
  type: string;
  at: number;
  data: unknown;
}

/** A log that is followed, and how far it was read. */
export interface Cursor {
  readonly id: string;
  epoch: number | undefined;
  /** The offset that it needs next. */
  next: number;
  /** Nothing more comes. */
  readonly settled: boolean;
  /** How often in a row it could not be followed. */
  tries: number;
  /** Takes what is new of these. False: something between is missing, ask again from `next`. */
  take(epoch: number, events: WireEvent[]): boolean;
  /** Forgets all: it is read again from the start. */
  restart(): void;
  waiting(place: number | undefined, waitMs: number | undefined): void;
  /** It can't be read on, because of what the log is, or because the connection is closed for good. */
  fail(error: TidewireError, ofLog: boolean): void;
}

export interface Ack {
  id: string;
  epoch: number;
  state: string;
  place?: number;
  wait_ms?: number;
}

/** A task on its way to the server. */
export interface Submit {
  /** The frame's `task`, with its idempotency key. */
  readonly task: Record<string, unknown>;
  readonly cursor: Cursor;
  tries: number;
  acked(ack: Ack): void;
  refused(error: TidewireError): void;
}

/** Why a wire is no more. */
export interface Loss {
  error?: TidewireError;
  /** A WebSocket's close code. */
  code?: number;
  reason?: string;
  /** A WebSocket that never opened. */
  refused?: boolean;
}

/** What a wire needs of the connection. */
export interface Host {
  readonly clock: Clock;
  readonly http: Http;
  readonly WebSocket: (new (url: string) => SocketLike) | undefined;
  /** It works: follow and submit what waits. */
  opened(): void;
  /** Somebody answered. */
  heard(roundTripMs: number): void;
  lost(loss: Loss): void;
  /** False: ask again. */
  took(cursor: Cursor, epoch: number, events: WireEvent[]): boolean;
  /** `followed`: its events come by themselves. Says whether anybody wants them. */
  acked(submit: Submit, ack: Ack, followed: boolean): boolean;
  refused(submit: Submit, error: TidewireError): void;
  unfollowable(cursor: Cursor, error: TidewireError): void;
}

export interface Wire {
  follow(cursor: Cursor): void;
  unfollow(cursor: Cursor): void;
  submit(submit: Submit): void;
  /** Asks whether somebody is there. */
  ping(): void;
  /** Without a word to the host. */
  close(): void;
}

/** Any small answer takes milliseconds; a phone that changes its network needs a few seconds to know. */
export const ANSWER_MS = 8_000;

/** A megabyte either way, over a slow network. */
export const PAGE_MS = 60_000;

/** Where to read on. */
export const resume = (cursor: Cursor): { after?: number; epoch?: number } =>
  cursor.next > 0 && cursor.epoch !== undefined ? { after: cursor.next - 1, epoch: cursor.epoch } : {};
