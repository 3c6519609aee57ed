// Markdown that grows: the text is lexed from its last unsettled block on, and every settled block keeps its
// identity, so that a memoised view of it is never rendered again.
import { Lexer, type Links, type Token, type Tokens } from "marked";
import { mend } from "./mend";

export type { Token, Tokens };

// A block's text is searched for emphasis and links in time that can grow with its square. An answer's paragraph
// has a few thousand characters; beyond this one it is shown as plain text.
const MAX_INLINE_CHARS = 16_384;
// Quotes within quotes recurse. Nobody writes more than a handful.
const MAX_QUOTES = 16;
// A block may still become part of the one before it (a line that turns out to be a list's item), so that one
// more than the last stays open.
const OPEN_BLOCKS = 2;

const deepQuotes = new RegExp(`^((?: {0,3}>){${MAX_QUOTES}})[ >]+`, "gm");
const deepMarkers = /^((?:[ \t]*(?:[-*+]|\d{1,9}[.)])(?=[ \t])){16})(?:[ \t]*(?:[-*+]|\d{1,9}[.)])(?=[ \t]))+/gm;

type Lexed = { tokens: Token[]; links: Links };

/** A fold over a growing text. What it gives depends on the text alone, never on how it was cut. */
export class Blocks {
  private text = "";
  /** How much of the text the settled blocks cover. */
  private covered = 0;
  private settled: Token[] = [];
  private open: Token[] = [];
  private links: Links = {};
  private linksKey = "{}";
  private live = false;

  /** The blocks of the text. While `live`, what is half written at its end is shown as what it is becoming. */
  update(source: string, live: boolean): Token[] {
    const text = source.includes("\r") ? source.replace(/\r\n|\r/g, "\n") : source;
    if (!text.startsWith(this.text)) this.forget();
    // marked looks ahead in ways that a cut can trip, in about one of ten thousand texts made to do so. The finished
    // text is lexed once as a whole, so that it never depends on how it came.
    if (this.live && !live) this.forget();
    this.live = live;
    this.text = text;
    let rest = text.slice(this.covered);
    let lexed = this.lex(rest);
    if (linksKey(lexed.links) !== this.linksKey) {
      // A definition at the end changes what a reference at the beginning means.
      this.forget();
      this.text = rest = text;
      lexed = this.lex(rest);
      this.linksKey = linksKey(lexed.links);
    }
    const tail = lexed.tokens.slice(this.settle(lexed.tokens));
    const whole = text.slice(this.covered);
    const mended = live ? mend(whole, tail.findLast(isShown)?.type) : whole;
    this.open = this.reuse(mended === whole ? tail : this.lex(mended, lexed.links).tokens);
    return [...this.settled, ...this.open];
  }

  private forget() {
    Object.assign(this, { text: "", covered: 0, settled: [], open: [], links: {}, linksKey: "{}" });
  }

  /** Lexes with the definitions that it finds, or with those that are given. */
  private lex(source: string, given?: Links): Lexed {
    try {
      const lexer = new Lexer({ gfm: true });
      const tokens: Token[] = [];
      lexer.blockTokens(source.replace(deepQuotes, "$1 ").replace(deepMarkers, "$1"), tokens);
      const links = (lexer.tokens.links = given ?? { ...lexer.tokens.links, ...this.links });
      for (const run of lexer.inlineQueue) inline(lexer, run);
      return { tokens, links };
    } catch {
      // Nested beyond what the stack holds: shown as it was written.
      return { tokens: [plain(source)], links: this.links };
    }
  }

  /** Takes the blocks that no further text can change, and says how many they are. */
  private settle(tokens: Token[]): number {
    let count = tokens.length;
    for (let open = 0; count > 0 && open < OPEN_BLOCKS;) if (isShown(tokens[--count]!)) open += 1;
    while (count > 0 && !closes(tokens[count - 1]!)) count -= 1;
    const taken = tokens.slice(0, count);
    const raw = taken.map((token) => token.raw).join("");
    if (count === 0 || !this.text.startsWith(raw, this.covered)) return 0;
    this.settled = [...this.settled, ...this.reuse(taken)];
    this.open = this.open.slice(count);
    this.covered += raw.length;
    definitions(taken, this.links);
    return count;
  }

  /** What did not change since the last time stays the same object. */
  private reuse(tokens: Token[]): Token[] {
    return tokens.map((token, at) => {
      const one = this.open[at];
      return one && one.raw === token.raw && one.type === token.type ? one : token;
    });
  }
}

const isShown = (token: Token) => token.type !== "space" && token.type !== "def";
/** Blocks without a blank line between them can still grow together: marked looks ahead for tables and underlines. */
const closes = (token: Token) =>
  token.type === "space" ||
  (token.type === "code" && /^ {0,3}[`~]/.test(token.raw)) ||
  (token.type === "heading" && token.raw.startsWith("#"));
const linksKey = (links: Links) =>
  JSON.stringify(Object.entries(links).sort(([one], [other]) => (one < other ? -1 : 1)));
const plain = (source: string): Token => ({ type: "text", raw: source, text: source, escaped: false });

function inline(lexer: Lexer, run: { src: string; tokens: Token[] }) {
  if (run.src.length > MAX_INLINE_CHARS) {
    run.tokens.push(plain(run.src));
    return;
  }
  // An unclosed tag in one block says nothing about the next one.
  lexer.state.inLink = lexer.state.inRawBlock = false;
  lexer.inlineTokens(run.src, run.tokens);
}

/** The first definition of a name holds, as CommonMark has it. */
function definitions(tokens: Token[], links: Links) {
  for (const token of tokens) {
    if (token.type === "def") links[(token as Tokens.Def).tag] ??= { href: token.href, title: token.title };
    if (token.type === "list") for (const item of (token as Tokens.List).items) definitions(item.tokens, links);
    if (token.type === "blockquote") definitions((token as Tokens.Blockquote).tokens, links);
  }
}
