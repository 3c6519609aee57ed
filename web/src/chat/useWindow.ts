// The turns of a long thread that are on the screen: a window that moves, so that the page stays light however far somebody
// reads back. What the reader looks at does not move when others come and go above it.
import { useLayoutEffect, useRef, useState, type RefObject } from "react";

// A screen or two of short messages. With answers of usual length 45 turns are about 1,400 elements.
const SHOWN = 30;
const STEP = 15;
const MAX_SHOWN = 45;

export function useWindow<T>(all: readonly T[], scroller: RefObject<HTMLElement | null>) {
  const [{ size, after }, set] = useState({ size: SHOWN, after: 0 });
  // An element that stays, and where on the screen it was.
  const kept = useRef<{ node: Element; top: number } | undefined>(undefined);
  const end = all.length - Math.min(after, Math.max(0, all.length - size));
  const start = Math.max(0, end - size);
  const move = (earlier: boolean) => {
    const turns = scroller.current?.querySelectorAll(".turn") ?? [];
    const node = earlier ? turns[0] : turns[turns.length - 1];
    if (node) kept.current = { node, top: node.getBoundingClientRect().top };
    set(() => {
      const grown = Math.min(MAX_SHOWN, size + STEP);
      const hidden = all.length - end;
      return earlier
        ? { size: grown, after: hidden + size + STEP - grown }
        : { size: grown, after: Math.max(0, hidden - STEP) };
    });
  };
  useLayoutEffect(() => {
    const { node, top } = kept.current ?? {};
    kept.current = undefined;
    if (node?.isConnected) scroller.current!.scrollTop += node.getBoundingClientRect().top - top!;
  }, [start, end, scroller]);
  return {
    shown: all.slice(start, end),
    earlier: Math.min(STEP, start),
    later: Math.min(STEP, all.length - end),
    move,
    /** Back to the newest. */
    reset: () => set({ size: SHOWN, after: 0 }),
  };
}
