// Dead letters tried again, as many as a filter finds: asked for in portions until none is left, so that progress shows.
import { pause } from "../pause";

export interface Answer {
  retried: { task: string; retried_as: string }[];
  refused: { task: string; error: { code: string; message: string; retry_after_ms?: number } }[];
  more: boolean;
}
export interface Progress {
  retried: number;
  refused: Answer["refused"];
  /** The server has no room now: it is asked again then. */
  waitsMs?: number | undefined;
}

/** So many at once: an answer within a second or two, each of them a commit. */
const PORTION = 100;

type Ask = (body: Record<string, unknown>) => Promise<Answer>;
type Rest = (ms: number, signal: AbortSignal) => Promise<void>;

/** Tells after each portion; ends when there is no more, `signal` stops it, or nothing moves any more. */
export async function retryAll(
  filter: Record<string, unknown>,
  signal: AbortSignal,
  tell: (progress: Progress) => void,
  ask: Ask,
  rest: Rest = pause,
): Promise<Progress> {
  const progress: Progress = { retried: 0, refused: [] };
  const refused = new Map<string, Answer["refused"][number]>();
  while (!signal.aborted) {
    const answer = await ask({ ...filter, limit: PORTION });
    for (const one of answer.refused) refused.set(one.task, one);
    for (const { task } of answer.retried) refused.delete(task);
    progress.retried += answer.retried.length;
    // A refusal for want of room is no verdict on the letter: it is tried again below.
    const full = answer.refused.find(({ error }) => error.retry_after_ms !== undefined);
    if (full && answer.more) refused.delete(full.task);
    progress.refused = [...refused.values()];
    progress.waitsMs = full && answer.more ? full.error.retry_after_ms : undefined;
    tell({ ...progress });
    if (!answer.more) break;
    if (progress.waitsMs !== undefined) await rest(progress.waitsMs, signal);
    // The same letters would be refused for ever.
    else if (answer.retried.length === 0) break;
  }
  progress.waitsMs = undefined;
  return { ...progress };
}
