// The growing Markdown: however a text is cut, it ends in the elements of the whole; and nothing in it can act.
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { Blocks } from "../src/prose/blocks";
import { BlockView, safeAddress } from "../src/prose/render";
import { SAMPLES, soup } from "./samples";

const markup = (tokens: ReturnType<Blocks["update"]>) =>
  renderToStaticMarkup(
    <>
      {tokens.map((token, at) => (
        <BlockView key={at} token={token} />
      ))}
    </>,
  );
const whole = (text: string) => markup(new Blocks().update(text, false));
const live = (text: string) => markup(new Blocks().update(text, true));

/** A generator that repeats for a seed. */
function random(seed: number) {
  let state = seed >>> 0;
  return (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function streamed(text: string, cuts: number[]) {
  const blocks = new Blocks();
  for (const cut of cuts) blocks.update(text.slice(0, cut), true);
  return markup(blocks.update(text, false));
}

describe("a text that grows", () => {
  it("has at every prefix the elements of that prefix", () => {
    for (const text of SAMPLES) {
      const blocks = new Blocks();
      for (let end = 0; end <= text.length; end += 1) {
        const prefix = text.slice(0, end);
        expect(markup(blocks.update(prefix, false)), JSON.stringify(prefix)).toBe(whole(prefix));
      }
    }
  });

  it("ends in the elements of the whole, however it was cut", { timeout: 600_000 }, () => {
    const seed = Number(process.env.TIDEWIRE_TEST_SEED ?? 20261123);
    const rounds = Number(process.env.TIDEWIRE_TEST_ROUNDS ?? 300);
    for (let round = 0; round < rounds; round += 1) {
      const next = random(seed + round);
      const text = soup(next);
      const cuts = Array.from({ length: 1 + next(12) }, () => next(text.length + 1)).sort((one, other) => one - other);
      expect(streamed(text, cuts), `seed ${seed + round}: ${JSON.stringify(text)} at ${cuts}`).toBe(whole(text));
    }
  });

  it("keeps the settled blocks' identity, so that they never render again", () => {
    const text = SAMPLES.join("\n\n").replace(/^\[sea\]:.*$/m, "");
    const blocks = new Blocks();
    let before = blocks.update("", true);
    let made = 0;
    for (let end = 1; end <= text.length; end += 7) {
      const now = blocks.update(text.slice(0, end), true);
      made += now.filter((token, at) => token !== before[at]).length;
      before = now;
    }
    expect(made / Math.ceil(text.length / 7)).toBeLessThan(3);
  });

  it("starts over when the text is taken back", () => {
    const blocks = new Blocks();
    blocks.update("# One\n\ntwo\n\nthree\n\nfour", true);
    expect(markup(blocks.update("# Another\n\ntext", false))).toBe(whole("# Another\n\ntext"));
  });

  it("lets a definition at the end reach a reference at the beginning", () => {
    const text = "See [the sea] first.\n\nText.\n\nMore.\n\nEven more.\n\n[the sea]: https://example.com/sea";
    expect(
      streamed(
        text,
        [...text].map((_, at) => at),
      ),
    ).toContain('href="https://example.com/sea"');
  });
});

describe("what is half written", () => {
  it.each([
    ["a **bold", "<p>a <strong>bold</strong></p>"],
    ["a **bold*", "<p>a <strong>bold</strong></p>"],
    ["a **", "<p>a </p>"],
    ["a *slanted", "<p>a <em>slanted</em></p>"],
    ["a `let x", "<p>a <code>let x</code></p>"],
    ["see [the se", "<p>see the se</p>"],
    ["see [the sea](https://exam", "<p>see the sea</p>"],
    ["![a wave](https://exam", "<p>a wave</p>"],
    ["- one\n- **tw", "<ul><li>one</li><li><strong>tw</strong></li></ul>"],
    ["Title\n-", "<p>Title</p>"],
    ["Title\n--", "<p>Title</p>"],
    ["text\n\n-", "<p>text</p>"],
    ["snake_case and 2 * 3", "<p>snake_case and 2 * 3</p>"],
  ])("%j", (text, shown) => expect(live(text)).toBe(shown));

  it("shows a table's first line as its head", () => {
    for (const text of ["| a | b |", "| a | b |\n", "| a | b |\n|--", "| a | b |\n|---|---|"])
      expect(live(text)).toMatch(/<thead><tr><th scope="col">a<\/th><th scope="col">b<\/th>/);
  });

  it("shows an open fence as code", () => {
    expect(live("```rust\nfn main() {")).toMatch(/<code>fn main\(\) \{<\/code>/);
  });

  it("is as it was written once the text is whole", () => {
    expect(whole("a **bold")).toBe("<p>a **bold</p>");
  });
});

describe("hostile text", () => {
  it("makes no element of its own", () => {
    const text =
      '<script>alert(1)</script>\n\n<img src=x onerror=alert(1)> and <b onclick="x">b</b>\n\n<iframe srcdoc="<script>1</script>"></iframe>';
    expect(whole(text)).not.toMatch(/<(script|img|iframe|b)\b/);
    expect(whole(text)).toContain("&lt;script&gt;");
  });

  it.each([
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java&#115;cript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "blob:x",
    "file:///etc/passwd",
    "//example.com",
    "/v1/tasks",
    " javascript:x",
  ])("opens nothing at %j", (href) => expect(safeAddress(href)).toBeUndefined());

  it("links where a link is safe", () => {
    expect(whole("[a](https://example.com/?a=1&b=2) <mailto:a@example.com>")).toContain(
      'href="https://example.com/?a=1&amp;b=2" target="_blank" rel="noopener noreferrer nofollow"',
    );
    expect(whole("[x](javascript:alert(1)) ![y](javascript:alert(1))")).toBe("<p><span>x</span> <span>y</span></p>");
  });

  it("never loads an image", () => {
    expect(whole("![secret](https://example.com/?q=secret)")).not.toContain("<img");
  });

  it("bears depth and length without harm", { timeout: 30_000 }, () => {
    const hostile = [
      ">".repeat(20_000) + " a",
      "> ".repeat(20_000),
      "- ".repeat(5_000) + "x",
      "1. ".repeat(5_000) + "x",
      "[".repeat(20_000),
      "*a ".repeat(7_000),
      "**a".repeat(7_000),
      "`".repeat(9_000) + "a",
      "![".repeat(8_000),
      "<".repeat(20_000),
      "|a".repeat(9_000) + "|\n" + "|-".repeat(9_000) + "|\n",
      "_".repeat(20_000),
      "a\n".repeat(9_000),
      "\0\u202e\ufeff\ud800",
      "[a](".repeat(5_000),
      "~".repeat(20_000) + "a",
      " ".repeat(20_000) + "- x",
      "(".repeat(20_000),
      "&#x110000; &#xd800; &#0;",
    ];
    for (const text of hostile) {
      const began = performance.now();
      expect(streamed(text, [1, text.length >> 1, text.length - 1]).length, text.slice(0, 20)).toBeGreaterThan(0);
      // Stuck, not slow, is what this tells: marked takes seconds where its search grows with the square.
      expect(performance.now() - began, text.slice(0, 20)).toBeLessThan(8_000);
    }
  });
});
