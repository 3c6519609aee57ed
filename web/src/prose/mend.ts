// What a half-written end of Markdown is becoming: an open `**` is already bold, an open link is its words, a
// table's first line is a table. Only for the screen while text still comes; the whole text is never mended.

// A paragraph is looked through anew at each frame. Longer ones than this show their marks until they are whole.
const MAX_RUN_CHARS = 8_192;

type Open = { mark: string; at: number };

/** The text with its half-open end closed or left out. `last` is the kind of its last block. */
export function mend(text: string, last: string | undefined): string {
  if (last === "code" || last === "html") return text;
  const start = lastRun(text);
  const run = text.slice(start);
  const table = halfTable(run);
  if (table !== undefined) return text.slice(0, start) + table;
  return text.slice(0, start) + inlineMend(withoutHalfLine(run));
}

/** Where the text of the last paragraph, item or row begins. */
function lastRun(text: string): number {
  const blank = text.lastIndexOf("\n\n");
  const start = blank < 0 ? 0 : blank + 2;
  let at = start;
  for (const item of text.slice(start).matchAll(/^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)+|^[ \t>]+/gm)) {
    at = start + item.index + item[0].length;
  }
  return at;
}

/** A lone mark at the end may become a list's item, a rule or an underline: it is not shown before that is known. */
function withoutHalfLine(run: string): string {
  const at = run.lastIndexOf("\n") + 1;
  return /^ {0,3}(?:[-=*+_#>`~|]{1,2}|\d{1,9}[.)]?)[ \t]*$/.test(run.slice(at)) ? run.slice(0, at) : run;
}

/** A table is known by its second line; until that is whole, its first one is shown as the head of a table. */
function halfTable(run: string): string | undefined {
  const [head = "", rule, ...more] = run.split("\n");
  if (!/^ {0,3}\|.*\S/.test(head) || more.length > 0) return undefined;
  if (rule !== undefined && !/^[ |:-]*$/.test(rule)) return undefined;
  const whole = head.trimEnd().endsWith("|") ? head.trimEnd() : `${head.trimEnd()} |`;
  const columns = whole.replaceAll("\\|", "").split("|").length - 2;
  return columns < 1 ? undefined : `${whole}\n|${" --- |".repeat(columns)}\n`;
}

function inlineMend(written: string): string {
  if (written.length > MAX_RUN_CHARS) return written;
  let run = written;
  const opens: Open[] = [];
  let at = 0;
  while (at < run.length) {
    const char = run[at]!;
    if (char === "\\") at += 2;
    else if (char === "`") {
      const ticks = /^`+/.exec(run.slice(at))![0];
      const close = closing(run, at + ticks.length, ticks);
      if (close < 0) return closed(run, at, ticks, opens);
      at = close + ticks.length;
    } else if (char === "*" || char === "_" || char === "~") {
      const mark = run.startsWith(char + char, at) ? char + char : char;
      toggle(opens, mark, run, at);
      at += mark.length;
    } else if (char === "[") {
      const link = /^\[((?:\\.|[^\]\\\n])*)(\]\([^)\n]*)?$/.exec(run.slice(at));
      // An image's mark, too: nothing of it is shown but its words.
      if (link) run = run.slice(0, at).replace(/!$/, "") + (link[1] ?? "");
      else at += 1;
    } else at += 1;
  }
  return close(run, opens);
}

/** The next run of exactly these ticks. */
function closing(run: string, from: number, ticks: string): number {
  for (const found of run.slice(from).matchAll(/`+/g)) if (found[0].length === ticks.length) return from + found.index;
  return -1;
}

function closed(run: string, at: number, ticks: string, opens: Open[]): string {
  const body = run.slice(at + ticks.length);
  // Some of the closing ticks may be there already.
  const bare = body.replace(/`+$/, "");
  return bare.trim() === "" ? close(run.slice(0, at), opens) : close(run.slice(0, at) + ticks + bare + ticks, opens);
}

function toggle(opens: Open[], mark: string, run: string, at: number) {
  if (opens.at(-1)?.mark === mark && /\S/.test(run[at - 1] ?? " ")) opens.pop();
  else if (mark !== "~" && !(mark.startsWith("_") && /\w/.test(run[at - 1] ?? " "))) {
    const next = run[at + mark.length];
    if (next === undefined || /\S/.test(next)) opens.push({ mark, at });
  }
}

function close(run: string, opens: Open[]): string {
  let text = run;
  for (const { mark, at } of opens.toReversed()) {
    const body = text.slice(at + mark.length);
    if (body.trim() === "") text = text.slice(0, at);
    // Half of a closing `**` is there already; what closes must touch the text before it.
    else
      text =
        text.replace(mark.length === 2 && text.endsWith(mark[0]!) && !text.endsWith(mark) ? /.$/ : /\s*$/, "") + mark;
  }
  return text;
}
