// Doubtful words: from tokens to places in the Markdown, and from there to what is on the screen.
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { Prose } from "../src/prose/Prose";
import { doubts, rendered } from "../src/prose/marks";

/** A text as tokens of these pieces; what stands in ⟨⟩ is doubtful. */
function told(marked: string) {
  const tokens = marked.split(/(⟨[^⟩]*⟩)/).flatMap((part) => {
    const doubtful = part.startsWith("⟨");
    const text = part.replace(/[⟨⟩]/g, "");
    const pieces = doubtful ? [text] : (text.match(/\s?\S+|\s+/g) ?? []);
    return pieces.map((token) => ({
      token,
      logprob: Math.log(doubtful ? 0.1 : 0.9),
      top_logprobs: [{ token: "other", logprob: Math.log(0.2) }],
    }));
  });
  return { text: marked.replace(/[⟨⟩]/g, ""), tokens };
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#x27": "'" };
/** The pieces of text that a browser would have, without the names and buttons around code. */
const pieces = (text: string) =>
  renderToStaticMarkup(<Prose text={text} live={false} />)
    .replace(/<figcaption>.*?<\/figcaption>/gs, "")
    .split(/<[^>]*>/)
    .filter(Boolean)
    .map((piece) => piece.replace(/&([\w#]+);/g, (whole, name: string) => ENTITIES[name] ?? whole));

function marked(source: string) {
  const { text, tokens } = told(source);
  const shown = pieces(text);
  return rendered(text, shown, doubts(text, tokens)).map(({ piece, from, to }) => shown[piece]!.slice(from, to));
}

describe("the words that are marked", () => {
  it.each([
    ["a word of plain text", "The sea is ⟨salty⟩ today, and ⟨salty⟩ tomorrow.", ["salty", "salty"]],
    ["the whole word of which a token is part", "It is un⟨believ⟩able.", ["unbelievable"]],
    [
      "words among signs",
      "# A ⟨Title⟩\n\nSome **⟨bold⟩ words** and `⟨code⟩` and *⟨slanted⟩*.",
      ["Title", "bold", "code", "slanted"],
    ],
    ["each part of a word with signs inside", "an un**⟨believ⟩**able one", ["believ"]],
    [
      "words after a link, not in its address",
      "See [the ⟨ocean⟩](https://a.example/salt_(sea)) for ⟨salt⟩.",
      ["ocean", "salt"],
    ],
    [
      "words of a list and a table",
      "1. one ⟨two⟩\n2. ⟨three⟩\n\n| a | b |\n| --- | ---: |\n| ⟨8⟩ | ⟨nine⟩ |\n",
      ["two", "three", "8", "nine"],
    ],
    ["words of code, not of its name", "```print\nx = ⟨print⟩(1)\n```\n\nand ⟨after⟩", ["print", "after"]],
    ["words beside entities and escapes", "a &amp; ⟨b⟩ \\* ⟨c⟩ < d ⟨e⟩", ["b", "c", "e"]],
    ["words after characters of several units", "🙂 漢字 ⟨sea⟩ 👩‍👩‍👧 ⟨naïve⟩", ["sea", "naïve"]],
    ["no signs and no spaces", "One⟨,⟩ two⟨ ⟩three⟨ **⟩four**.", []],
  ])("are %s", (_, source, words) => expect(marked(source)).toEqual(words));

  it("are found again after what was taken out of the text, and not where a token has no place", () => {
    const { tokens } = told("one ⟨two⟩ three ⟨four⟩ five");
    const spans = doubts("one two four five", [...tokens, { token: "<|end|>", logprob: -9 }]);
    expect(spans.map(({ doubt }) => doubt.word)).toEqual(["two", "four"]);
  });

  it("come from the bytes of tokens that are parts of a character", () => {
    const bytes = [...new TextEncoder().encode("漢")];
    const half = (part: number[]) => ({ token: "\ufffd", logprob: Math.log(0.2), bytes: part });
    const said = [
      { token: "x ", logprob: 0 },
      half(bytes.slice(0, 1)),
      half(bytes.slice(1)),
      { token: " y", logprob: 0 },
    ];
    expect(doubts("x 漢 y", said).map(({ from, to }) => [from, to])).toEqual([[2, 3]]);
  });

  it("say what else the model might have said", () => {
    const { text, tokens } = told("a ⟨word⟩");
    expect(doubts(text, tokens)[0]!.doubt).toMatchObject({ word: "word", others: [{ token: "other" }] });
    expect(doubts(text, tokens)[0]!.doubt.chance).toBeCloseTo(0.1);
  });
});

it("marks a long answer to its end", () => {
  const { text, tokens } = told("The **sea** is ⟨salty⟩, see [it](https://a.example). ".repeat(2_000));
  expect(rendered(text, pieces(text), doubts(text, tokens)).length).toBe(2_000);
});
