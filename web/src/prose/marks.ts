// Where in a rendered answer its model had doubts. Log-probabilities are told of tokens, which join to the Markdown that
// the model wrote; what is on the screen is that without its signs. Both are matched here, word by word.
import type { TokenLogprob } from "@tidewire/client";

/** A word that the model gave a small chance. */
export interface Doubt {
  word: string;
  /** The chance of its least likely token. */
  chance: number;
  token: string;
  /** What else it might have said there, and how likely. */
  others: { token: string; chance: number }[];
}
/** From a place to before another one, in UTF-16 units of a text. */
export interface Span {
  from: number;
  to: number;
  doubt: Doubt;
}
/** A span within one of the pieces of text that are on the screen. */
export type Mark = Span & { piece: number };

// In two of three cases the model would have said something else. At a half, every other word of a small model is marked.
export const DOUBTFUL = 1 / 3;
// What a guard or a stop word took out of an answer is not longer than this; a token that is not found this near has no place.
const NEAR_CHARS = 256;
// A link's address and a fence's line are skipped as such; other signs between two words are fewer.
const SIGNS_CHARS = 512;

/** The doubtful words of a text, in order. */
export function doubts(text: string, logprobs: readonly TokenLogprob[]): Span[] {
  const found: Span[] = [];
  for (const { from, to, token } of places(text, logprobs)) {
    const chance = Math.exp(token.logprob);
    if (!(chance < DOUBTFUL) || !/[\p{L}\p{N}]/u.test(text.slice(from, to))) continue;
    const word = wordAt(text, from, to);
    const last = found.at(-1);
    const doubt = { word: text.slice(word.from, word.to), chance, token: token.token, others: others(token) };
    if (last && last.from === word.from) {
      if (chance < last.doubt.chance) last.doubt = doubt;
    } else if (!last || word.from >= last.to) found.push({ ...word, doubt });
  }
  return found;
}

const others = ({ token, top_logprobs: top = [] }: TokenLogprob) =>
  top
    .filter((other) => other.token !== token && other.token.trim() !== "")
    .map((other) => ({ token: other.token, chance: Math.exp(other.logprob) }));

/** The whole word that a token is part of: letters and digits, without the Markdown around them. */
function wordAt(text: string, from: number, to: number): { from: number; to: number } {
  const inWord = (at: number) => /[\p{L}\p{N}\p{M}'’\ud800-\udfff]/u.test(text[at] ?? "");
  while (from < to && !inWord(from)) from += 1;
  while (to > from && !inWord(to - 1)) to -= 1;
  while (from > 0 && inWord(from - 1)) from -= 1;
  while (to < text.length && inWord(to)) to += 1;
  return { from, to };
}

/** Each token's place in the text. Tokens that are not in it, as the one that ends an answer, have none. */
function* places(text: string, logprobs: readonly TokenLogprob[]) {
  const bytes = new TextEncoder().encode(text);
  const units = unitsOf(text, bytes.length);
  const encoder = new TextEncoder();
  let at = 0;
  for (const token of logprobs) {
    const said = token.bytes ? Uint8Array.from(token.bytes) : encoder.encode(token.token);
    const start = find(bytes, said, at);
    if (start < 0 || said.length === 0) continue;
    at = start + said.length;
    yield { from: units[start]!, to: units[at]!, token };
  }
}

/** Of each byte of the text, and of its end, the unit that it is in. */
function unitsOf(text: string, bytes: number): Uint32Array {
  const units = new Uint32Array(bytes + 1);
  let at = 0;
  let unit = 0;
  for (const char of text) {
    const point = char.codePointAt(0)!;
    const length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    units.fill(unit, at, at + length);
    at += length;
    unit += char.length;
  }
  units[at] = unit;
  return units;
}

function find(bytes: Uint8Array, said: Uint8Array, from: number): number {
  const end = Math.min(bytes.length - said.length, from + NEAR_CHARS);
  for (let at = from; at <= end; at += 1) {
    let same = 0;
    while (same < said.length && bytes[at + same] === said[same]) same += 1;
    if (same === said.length) return at;
  }
  return -1;
}

/** The spans of the Markdown, as spans of the pieces of text that it was rendered to. */
export function rendered(text: string, pieces: readonly string[], spans: readonly Span[]): Mark[] {
  const marks: Mark[] = [];
  let at = 0;
  let next = 0;
  pieces.forEach((piece, number) => {
    for (const run of piece.matchAll(/\S+/g)) {
      const start = locate(text, run[0], at);
      if (start < 0) continue;
      at = start + run[0].length;
      while (next < spans.length && spans[next]!.to <= start) next += 1;
      for (let span = next; span < spans.length && spans[span]!.from < at; span += 1) {
        const { from, to, doubt } = spans[span]!;
        const begin = run.index + Math.max(0, from - start);
        const end = run.index + Math.min(run[0].length, to - start);
        if (begin < end) marks.push({ from: begin, to: end, doubt, piece: number });
      }
    }
  });
  return marks;
}

/** Where a run of letters that is on the screen stands in the Markdown, from a place on. */
function locate(text: string, run: string, from: number): number {
  const at = skipped(text, from);
  // Only so far: a search to the end for each run that is not there would take the square of the text's length.
  const near = text.slice(at, at + SIGNS_CHARS + run.length);
  const start = near.indexOf(run);
  if (start >= 0) return at + start;
  // With signs or entities inside of it; found by its first letters, it is at least not lost for what follows.
  const head = /^[\p{L}\p{N}]{2,}/u.exec(run)?.[0];
  const begin = head ? near.indexOf(head) : -1;
  return begin >= 0 ? at + begin : -1;
}

const SIGNS = [
  /^[*_~`]+/,
  /^\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+"[^"]*")?\)/,
  /^\s*\n *(?:`{3,}|~{3,})[^\n]*\n/,
];

/** Past what is written and never shown: an address, a fence's line. */
function skipped(text: string, from: number): number {
  let at = from;
  for (let moved = true; moved;) {
    moved = false;
    for (const sign of SIGNS) {
      const found = sign.exec(text.slice(at, at + SIGNS_CHARS));
      if (!found) continue;
      at += found[0].length;
      moved = true;
    }
  }
  return at;
}
