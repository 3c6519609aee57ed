// The doubtful words of an answer: underlined on the screen, told by a tooltip, and listed for those who can't point at
// them. The underlines are highlights over the text: they change no element, so that no block is made anew for them.
import type { TokenLogprob } from "@tidewire/client";
import { useEffect, useMemo, useState, type RefObject } from "react";
import { DOUBTFUL, doubts, rendered, type Doubt, type Mark } from "./marks";
import "./doubts.css";

// A list of more than these nobody reads; the text has marks for all.
const LISTED = 50;
const NAME = "doubt";

type Props = { text: string; logprobs: readonly TokenLogprob[]; body: RefObject<HTMLElement | null> };
type Tip = { doubt: Doubt; x: number; y: number };

export default function Doubts({ text, logprobs, body }: Props) {
  const spans = useMemo(() => doubts(text, logprobs), [text, logprobs]);
  const [tip, setTip] = useState<Tip>();
  useEffect(() => {
    const prose = body.current;
    if (!prose || spans.length === 0) return;
    const nodes = textNodes(prose);
    const marks = rendered(
      text,
      nodes.map(({ data }) => data),
      spans,
    );
    const leave = highlight(nodes, marks);
    const unpoint = pointing(prose, nodes, marks, setTip);
    return () => {
      leave();
      unpoint();
    };
  }, [spans, text, body]);
  if (spans.length === 0) return null;
  return (
    <>
      <details className="doubts">
        <summary>{spans.length === 1 ? "1 doubtful word" : `${spans.length} doubtful words`}</summary>
        <p>
          The model gave each of them a chance below {percent(DOUBTFUL)}: it might as well have said something else.
          Whether they are true it does not say.
        </p>
        <ul>
          {spans.slice(0, LISTED).map(({ from, doubt }) => (
            <li key={from}>
              <Words doubt={doubt} />
            </li>
          ))}
          {spans.length > LISTED && <li>and {spans.length - LISTED} more</li>}
        </ul>
      </details>
      {tip && (
        <div className="tip" role="tooltip" style={{ left: tip.x, top: tip.y }}>
          <Words doubt={tip.doubt} />
        </div>
      )}
    </>
  );
}

const percent = (chance: number) => `${chance < 0.01 ? "under 1" : Math.round(chance * 100)} %`;

function Words({ doubt: { word, chance, token, others } }: { doubt: Doubt }) {
  return (
    <>
      <strong>{word}</strong> <span className="number">{percent(chance)}</span>
      {token.trim() !== word && <span className="muted"> at “{token.trim()}”</span>}
      {others.length > 0 && (
        <span className="muted number">
          {" "}
          or {others.map((other) => `“${other.token.trim()}” ${percent(other.chance)}`).join(", ")}
        </span>
      )}
    </>
  );
}

/** The text that the answer's words became: not the buttons and names that stand around them. */
function textNodes(prose: HTMLElement): Text[] {
  const walker = document.createTreeWalker(prose, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement?.closest("figcaption, button") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT,
  );
  const nodes: Text[] = [];
  while (walker.nextNode()) nodes.push(walker.currentNode as Text);
  return nodes;
}

/** Underlines the marks; gives back what takes that away. A browser without highlights has the list. */
function highlight(nodes: readonly Text[], marks: readonly Mark[]): () => void {
  if (typeof Highlight === "undefined") return () => {};
  const all = CSS.highlights.get(NAME) ?? new Highlight();
  CSS.highlights.set(NAME, all);
  const ranges = marks.map(({ piece, from, to }) => {
    const range = new StaticRange({
      ...{ startContainer: nodes[piece]!, startOffset: from },
      ...{ endContainer: nodes[piece]!, endOffset: to },
    });
    all.add(range);
    return range;
  });
  return () => ranges.forEach((range) => all.delete(range));
}

/** Says which doubt is pointed at or tapped, and where. */
function pointing(
  prose: HTMLElement,
  nodes: readonly Text[],
  marks: readonly Mark[],
  tell: (tip: Tip | undefined) => void,
): () => void {
  const byNode = new Map<Node, Mark[]>();
  for (const mark of marks) {
    const node = nodes[mark.piece]!;
    byNode.set(node, [...(byNode.get(node) ?? []), mark]);
  }
  let shown: Mark | undefined;
  const show = (mark?: Mark, node?: Node) => {
    if (mark === shown) return;
    shown = mark;
    tell(mark && node ? { doubt: mark.doubt, ...below(node, mark) } : undefined);
  };
  const point = ({ clientX, clientY }: PointerEvent | MouseEvent) => {
    const place = caretAt(clientX, clientY);
    const mark = place && byNode.get(place.node)?.find(({ from, to }) => from <= place.offset && place.offset <= to);
    show(mark, place?.node);
  };
  const away = () => show();
  const press = ({ key }: KeyboardEvent) => {
    if (key === "Escape") away();
  };
  prose.addEventListener("pointermove", point);
  prose.addEventListener("click", point);
  prose.addEventListener("pointerleave", away);
  addEventListener("scroll", away, { capture: true, passive: true });
  addEventListener("keydown", press);
  return () => {
    prose.removeEventListener("pointermove", point);
    prose.removeEventListener("click", point);
    prose.removeEventListener("pointerleave", away);
    removeEventListener("scroll", away, { capture: true });
    removeEventListener("keydown", press);
  };
}

function caretAt(x: number, y: number): { node: Node; offset: number } | undefined {
  const position = document.caretPositionFromPoint?.(x, y);
  if (position) return { node: position.offsetNode, offset: position.offset };
  const range = document.caretRangeFromPoint?.(x, y);
  return range ? { node: range.startContainer, offset: range.startOffset } : undefined;
}

// As wide as the tooltip may be, and the margin to the window's edge.
const TIP_PX = 320;
const EDGE_PX = 8;

function below(node: Node, { from, to }: Mark): { x: number; y: number } {
  const range = document.createRange();
  range.setStart(node, from);
  range.setEnd(node, to);
  const { left, bottom } = range.getBoundingClientRect();
  return { x: Math.max(EDGE_PX, Math.min(left, innerWidth - TIP_PX - EDGE_PX)), y: bottom + 4 };
}
