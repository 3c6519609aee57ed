// A list of any length of which only what is seen is there: ten thousand rows cost what thirty do.
import { useEffect, useLayoutEffect, useRef, useState, type ReactNode } from "react";
import "./rows.css";

const ROW_PX = 56;
// Rows beyond each edge, so that a fast hand sees no gap.
const OVERSCAN = 6;

type Props = {
  count: number;
  label: string;
  row: (at: number) => ReactNode;
  /** Each row's height. */
  px?: number;
  /** The last row has been seen: there may be more to fetch. */
  onEnd?: (() => void) | undefined;
};

export function Rows({ count, label, row, px = ROW_PX, onEnd }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState({ from: 0, to: 20 });
  useLayoutEffect(() => {
    const node = box.current!;
    const look = () => {
      const from = Math.max(0, Math.floor(node.scrollTop / px) - OVERSCAN);
      const to = Math.ceil((node.scrollTop + node.clientHeight) / px) + OVERSCAN;
      setRange((now) => (now.from === from && now.to === to ? now : { from, to }));
    };
    look();
    const sized = new ResizeObserver(look);
    sized.observe(node);
    node.addEventListener("scroll", look, { passive: true });
    return () => {
      sized.disconnect();
      node.removeEventListener("scroll", look);
    };
  }, [px]);
  const atEnd = count > 0 && range.to >= count;
  useEffect(() => {
    if (atEnd) onEnd?.();
  }, [atEnd, onEnd]);
  const shown = [];
  for (let at = range.from; at < Math.min(range.to, count); at += 1) shown.push(at);
  return (
    <div ref={box} className="rows" tabIndex={0} role="group" aria-label={label}>
      <ul style={{ height: count * px }}>
        {shown.map((at) => (
          <li
            key={at}
            aria-setsize={count}
            aria-posinset={at + 1}
            style={{ height: px, transform: `translateY(${at * px}px)` }}
          >
            {row(at)}
          </li>
        ))}
      </ul>
    </div>
  );
}
