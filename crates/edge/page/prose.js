// Prose: text with a little Markdown, painted as it grows.

/** An element with fields set and children in it. */
export function element(tag, fields = {}, ...children) {
  const node = Object.assign(document.createElement(tag), fields);
  node.append(...children);
  return node;
}

const KINDS = [["fence", /^ {0,3}(`{3,}|~{3,})/], ["item", /^([ \t]*)([-*+]|\d{1,9}[.)])[ \t]+/], ["heading", /^#{1,6} +/], ["blank", /^\s*$/]];
const kindOf = (line) => KINDS.find(([, form]) => form.test(line))?.[0] ?? "text";
const mark = (text) => element("span", { className: "mark" }, text);

export function inline(node, text) {
  let from = 0;
  for (const found of text.matchAll(/(`{1,3})(?!`)([^`](?:[^]*?[^`])?)\1(?!`)|\*\*(?=\S)([^]*?\S)\*\*/g)) {
    node.append(text.slice(from, found.index));
    const [whole, ticks, code, bold] = found;
    if (code !== undefined) node.append(mark(ticks), element("code", {}, code), mark(ticks));
    else node.append(mark("**"), inline(element("strong"), bold), mark("**"));
    from = found.index + whole.length;
  }
  node.append(text.slice(from));
  return node;
}

/** A line, or lines, whose mark in front and whose end of line are hidden. */
function lines(node, front, text) {
  const end = text.endsWith("\n") ? 1 : 0;
  if (front) node.append(mark(front));
  inline(node, text.slice(0, text.length - end));
  if (end) node.append(mark("\n"));
  return node;
}

/** Takes the block that begins at line `at`: its node, and the line after it. */
function block(all, at) {
  const kind = kindOf(all[at]);
  let end = at + 1;
  const run = (test) => { while (end < all.length && test(all[end])) end += 1; return all.slice(at, end).join(""); };
  if (kind === "blank") return [mark(run((line) => kindOf(line) === "blank")), end];
  if (kind === "heading") {
    const [front] = all[at].match(KINDS[2][1]);
    return [lines(element("h2"), front, all[at].slice(front.length)), end];
  }
  if (kind === "fence") {
    const fence = all[at].match(KINDS[0][1])[1];
    const closes = (line) => line.trim().startsWith(fence) && line.trim().replaceAll(fence[0], "") === "";
    const body = run((line) => !closes(line)).slice(all[at].length);
    const node = element("pre", { tabIndex: 0 }, mark(all[at]), element("code", {}, body));
    if (end < all.length) node.append(mark(all[end]));
    return [node, Math.min(end + 1, all.length)];
  }
  if (kind === "item") return list(all, at);
  return [lines(element("p"), "", run((line) => kindOf(line) === "text")), end];
}

function list(all, at) {
  const form = KINDS[1][1];
  const ordered = (line) => /\d/.test(line.match(form)[2]);
  const node = element(ordered(all[at]) ? "ol" : "ul");
  let end = at;
  while (end < all.length && kindOf(all[end]) === "item" && ordered(all[end]) === (node.tagName === "OL")) {
    const [front, indent, sign] = all[end].match(form);
    let text = all[end].slice(front.length);
    end += 1;
    while (end < all.length && /^\s{2,}\S/.test(all[end]) && kindOf(all[end]) === "text") text += all[end++];
    const item = lines(element("li", { className: indent.length > 1 ? "deep" : "" }), front, text);
    if (node.tagName === "OL") item.value = parseInt(sign, 10);
    node.append(item);
  }
  return [node, end];
}

/**
 * Every character of the text is in the node, in order: marks are hidden, not dropped, so that the node's
 * textContent is the log's text byte for byte. Only the last block is made anew when text comes.
 */
export class Prose {
  constructor(node) {
    this.node = node;
    this.clear();
  }

  clear() {
    this.node.replaceChildren();
    this.length = 0;
    this.settled = 0; // Where the last block begins in the text,
    this.kept = 0; // and how many nodes there are before it.
  }

  /** Only adds, where that can't change what is there: a long paragraph is slow to lay out anew at each frame. */
  extend(text) {
    const last = this.node.lastChild;
    const end = last?.lastChild;
    const added = text.slice(this.length);
    const line = text.slice(text.lastIndexOf("\n", this.length - 1) + 1);
    const inCode = last?.tagName === "PRE" && end.tagName === "CODE" && !/[`~]/.test(line);
    // By 20 characters a line has shown whether it is an item or a heading.
    const inText = last?.tagName === "P" && end.nodeType === Node.TEXT_NODE && line.length - added.length > 20
      && !/[\n`*]/.test(added) && !/[`*]/.test(end.data);
    if (inCode || inText) (inCode ? end.lastChild : end).appendData(added);
    return inCode || inText;
  }

  paint(text) {
    if (text.length === this.length) return;
    const extended = this.extend(text);
    this.length = text.length;
    if (extended) return;
    while (this.node.childNodes.length > this.kept) this.node.lastChild.remove();
    const all = text.slice(this.settled).match(/[^\n]*\n|[^\n]+/g);
    for (let at = 0, begin = this.settled; at < all.length;) {
      const [node, end] = block(all, at);
      if (!node.className) {
        this.settled = begin;
        this.kept = this.node.childNodes.length;
      }
      this.node.append(node);
      for (; at < end; at += 1) begin += all[at].length;
    }
  }
}
