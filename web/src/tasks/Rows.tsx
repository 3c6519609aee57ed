// A list of any length of which only what is seen is there: ten thousand rows cost what thirty do.
import { useLayoutEffect, useRef, useState, type ReactNode } from "react";

export const ROW_PX = 56;
// Rows beyond each edge, so that a fast hand sees no gap.
const OVERSCAN = 6;

export function Rows({ count, label, row }: { count: number; label: string; row: (at: number) => ReactNode }) {
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState({ from: 0, to: 20 });
  useLayoutEffect(() => {
    const node = box.current!;
    const look = () => {
      const from = Math.max(0, Math.floor(node.scrollTop / ROW_PX) - OVERSCAN);
      const to = Math.ceil((node.scrollTop + node.clientHeight) / ROW_PX) + OVERSCAN;
      setRange((now) => (now.from === from && now.to === to ? now : { from, to }));
    };
    const sized = new ResizeObserver(look);
    sized.observe(node);
    node.addEventListener("scroll", look, { passive: true });
    return () => {
      sized.disconnect();
      node.removeEventListener("scroll", look);
    };
  }, []);
  const shown = [];
  for (let at = range.from; at < Math.min(range.to, count); at += 1) shown.push(at);
  return (
    <div ref={box} className="rows" tabIndex={0} role="group" aria-label={label}>
      <ul style={{ height: count * ROW_PX }}>
        {shown.map((at) => (
          <li
            key={at}
            aria-setsize={count}
            aria-posinset={at + 1}
            style={{ transform: `translateY(${at * ROW_PX}px)` }}
          >
            {row(at)}
          </li>
        ))}
      </ul>
    </div>
  );
}
