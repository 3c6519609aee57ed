// Time, chance and frames come in from outside, so that a test can repeat a run.

/** Calls off what was planned. */
export type Cancel = () => void;

export interface Clock {
  /** Milliseconds, from anywhere, that only grow. */
  now(): number;
  /** From 0 to below 1. */
  random(): number;
  /** Runs it once, so many milliseconds from now. */
  after(ms: number, run: () => void): Cancel;
  /** Runs it with the next frame; where nothing is painted, soon. */
  frame(run: () => void): void;
}

/** A frame of 60 a second, for programs without a screen. */
const FRAME_MS = 16;
/** A hidden page paints nothing, but its title and notifications should not be old; browsers make it a second anyway. */
const HIDDEN_MS = 250;

export const systemClock: Clock = {
  now: () => performance.now(),
  random: () => Math.random(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  frame(run) {
    const page = globalThis.document;
    const once = () => {
      clearTimeout(timer);
      if (frame) cancelAnimationFrame(frame);
      run();
    };
    // Also beside a requested frame: it never comes if the page is hidden meanwhile.
    const timer = setTimeout(once, page ? HIDDEN_MS : FRAME_MS);
    const frame = page && !page.hidden && requestAnimationFrame(once);
  },
};

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MOST_MS = 30_000;

/** How long to wait after so many failures in a row: full jitter, so that thousands who lost one server do not come back at once. */
export const backoff = (clock: Clock, failures: number): number =>
  clock.random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(failures, 10));
