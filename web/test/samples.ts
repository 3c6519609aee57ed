// Texts that the renderer is tried on, and a soup of pieces that meet in unforeseen ways.

export const SAMPLES = [
  "# The sea\n\nIt is **salty** because *rivers* carry `NaCl`.\n\n## Why\n\n1. Rain\n2. Rivers\n   - small\n   - large\n\n   still the second\n3. Sea\n\n> A quote\n> of two lines\n\nThe end.\n",
  "```rust\nfn main() {\n    println!(\"- not a list\");\n}\n```\n\nAfter.\n\n~~~\n```\n~~~\n\n    indented\n    code\n\nlast",
  "| river | km |\n|:------|---:|\n| Nile | 6,650 |\n| Amazon | `6,400` |\n\nSee [the table](https://example.com \"t\").\n\n| not | a table\n\ntext",
  "Title\n=====\n\nOther\n-----\n\n* * *\n\n- [ ] open\n- [x] done\n\n- loose\n\n- list\n\ntext\n+ other list\n\n10. ten\n11. eleven\n",
  "See [sea] and [rivers][r].\n\nText ~~gone~~ https://example.com/a_b.\n\n[sea]: https://example.com/sea\n[r]: <https://example.com/r> 'R'\n\nAfter &amp; all &#8594; <b>html</b>\n\n<div>\nblock\n\n</div>\n\n<!-- a\n\ncomment -->\n\nx",
  "Line  \nbreak\\\nagain\r\nwindows\r\n\r\nnext \\*not emphasis\\* __bold _both___ ***x***\n\n* a\n\n    b\n\n      c\n* d\n> e\nlazy\n",
];

const PIECES = ["# ", "## h\n", "text", " ", "\n", "\n\n", "\n\n", "- ", "- a\n", "* ", "+ x\n", "1. ", "2) b\n", "> ", ">> q\n", "```", "```js\n", "~~~\n", "`", "``", "**", "*", "_", "__", "~~", "[", "](", ")", "[a](https://e.x)", "![i](u)", "[ref]", "\n[ref]: https://r.x\n", "[ref]: h", "|", "| a | b |\n", "|---|---|\n", "| 1 | 2 |\n", "---\n", "===\n", "***\n", "    code\n", "  ", "\t", "<b>", "</b>", "<div>\n", "</div>\n\n", "<!--", "-->", "<pre>", "\\", "&amp;", "é漢🙂", "https://example.com ", "- [ ] ", "- [x] t\n", "\r\n", "    - deep\n", "word word\n", "<script>", "<?", "?>", "a@b.co "];

/** A text of pieces that a generator chose. */
export function soup(next: (below: number) => number): string {
  return Array.from({ length: 4 + next(40) }, () => PIECES[next(PIECES.length)]).join("");
}
