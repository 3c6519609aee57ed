// How long people waited, on its way to whoever wants to know.
import type { Cancel, Clock } from "./clock.js";
import type { Measure, Options } from "./types.js";

/** Few requests, and little is lost with a closed page. */
const REPORT_EVERY_MS = 10_000;
const MAX_WAITING = 200;

export class Measures {
  readonly #clock: Clock;
  readonly #report: Options["report"];
  #waiting: Measure[] = [];
  #due: Cancel | undefined;

  constructor(clock: Clock, report: Options["report"]) {
    this.#clock = clock;
    this.#report = report;
  }

  add(measure: Measure): void {
    if (!this.#report || this.#waiting.length >= MAX_WAITING) return;
    this.#waiting.push(measure);
    this.#due ??= this.#clock.after(REPORT_EVERY_MS, () => this.flush());
  }

  flush(): void {
    this.#due?.();
    this.#due = undefined;
    const measures = this.#waiting;
    this.#waiting = [];
    if (!measures.length || !this.#report) return;
    // Measuring must not break what it measures.
    new Promise((done) => done(this.#report?.(measures))).catch(() => {});
  }
}
