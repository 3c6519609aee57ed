// Blocks of Markdown as React elements. Nothing here writes HTML: what a model says is text, in elements of ours.
import type { Links, Token, Tokens } from "marked";
import { memo, type ReactNode } from "react";
import { CodeBlock } from "./CodeBlock";

export type { Links };

/** One block; it renders again only when its token is another one. */
export const BlockView = memo(function BlockView({ token }: { token: Token }) {
  return <>{block(token as Tokens.Generic)}</>;
});

const blocks = (tokens: Token[]) => tokens.map((token, at) => <BlockView key={at} token={token} />);

function block(token: Tokens.Generic): ReactNode {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      // All of one level: an answer's own outline says nothing about the page's.
      return <h2 data-depth={token.depth as number}>{inlines(token.tokens)}</h2>;
    case "code":
      return <CodeBlock language={language(token.lang as string | undefined)} text={token.text as string} />;
    case "blockquote":
      return <blockquote>{blocks(token.tokens ?? [])}</blockquote>;
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return <hr />;
    case "paragraph":
      return <p>{inlines(token.tokens)}</p>;
    case "html":
      return <p>{token.raw.replace(/\n+$/, "")}</p>;
    case "text":
      return token.tokens ? inlines(token.tokens) : <p className="plain">{token.raw}</p>;
    case "checkbox":
      return inline(token, 0);
    default:
      return <p>{token.raw}</p>;
  }
}

function list({ items, ordered, start }: Tokens.List): ReactNode {
  const lines = items.map((item, at) => (
    <li key={at} className={item.task ? "task" : undefined}>
      {blocks(item.tokens)}
    </li>
  ));
  return ordered ? <ol start={Number(start) || 0}>{lines}</ol> : <ul>{lines}</ul>;
}

function table({ header, rows, align }: Tokens.Table): ReactNode {
  const side = (at: number) => align[at] ?? undefined;
  return (
    <div className="table" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>
            {header.map((cell, at) => (
              <th key={at} scope="col" data-align={side(at)}>
                {inlines(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, line) => (
            <tr key={line}>
              {row.map((cell, at) => (
                <td key={at} data-align={side(at)}>
                  {inlines(cell.tokens)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const inlines = (tokens: Token[] | undefined): ReactNode =>
  tokens?.map((token, at) => inline(token as Tokens.Generic, at));

function inline(token: Tokens.Generic, key: number): ReactNode {
  switch (token.type) {
    case "strong":
      return <strong key={key}>{inlines(token.tokens)}</strong>;
    case "em":
      return <em key={key}>{inlines(token.tokens)}</em>;
    case "del":
      return <del key={key}>{inlines(token.tokens)}</del>;
    case "codespan":
      return <code key={key}>{token.text as string}</code>;
    case "br":
      return <br key={key} />;
    case "link":
      return link(token.href as string, inlines(token.tokens), key);
    case "image":
      // Never fetched: an address that a model wrote could carry what was said to another server.
      return link(token.href as string, (token.text as string) || "image", key);
    case "checkbox":
      return (
        <span
          key={key}
          role="img"
          aria-label={token.checked ? "done" : "to do"}
          className="check"
          data-done={Boolean(token.checked)}
        />
      );
    case "escape":
      return token.text as string;
    case "text":
      return token.tokens ? <span key={key}>{inlines(token.tokens)}</span> : decoded(token.text as string);
    default:
      return token.raw;
  }
}

function link(href: string, words: ReactNode, key: number): ReactNode {
  const safe = safeAddress(href);
  if (!safe) return <span key={key}>{words}</span>;
  return (
    <a key={key} href={safe} target="_blank" rel="noopener noreferrer nofollow">
      {words}
    </a>
  );
}

/** An address that opens a page or a letter, and can do nothing else. */
export function safeAddress(href: string): string | undefined {
  try {
    const url = new URL(decoded(href).trim());
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : undefined;
  } catch {
    return undefined;
  }
}

const ENTITIES: Record<string, string> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  copy: "©",
  hellip: "…",
  mdash: "—",
  ndash: "–",
  times: "×",
  rarr: "→",
  larr: "←",
  deg: "°",
  euro: "€",
};

/** The entities that models write; others stay as they are. */
function decoded(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([a-z]{2,6}));/g, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name as string] ?? whole;
    const point = decimal ? Number(decimal) : parseInt(hex as string, 16);
    return point > 0 && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff)
      ? String.fromCodePoint(point)
      : "\ufffd";
  });
}

/** The first word of a fence's line, where it looks like a language's name. */
const language = (info: string | undefined) => /^[\w+#.-]{1,24}/.exec(info ?? "")?.[0] ?? "";
