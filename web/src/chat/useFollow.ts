// The page follows an answer only while the reader is at the bottom. Any step up lets go at once; only a step down to
// the very end, or the button, takes hold again.
import { useCallback, useEffect, useRef, useState } from "react";

// Right after a reader's step up, a step of our own may still be on its way down: it does not take hold again.
const LET_GO_MS = 300;
const AT_END_PX = 4;

export function useFollow(key: unknown) {
  const scroller = useRef<HTMLElement>(null);
  const [follows, setFollows] = useState(true);
  const holds = useRef(true);
  const letGoAt = useRef(0);
  const set = useCallback((value: boolean) => {
    holds.current = value;
    setFollows(value);
  }, []);
  const toEnd = useCallback(() => {
    set(true);
    const node = scroller.current;
    if (node) node.scrollTop = node.scrollHeight;
  }, [set]);

  useEffect(() => {
    const node = scroller.current;
    if (!node) return;
    toEnd();
    let lastTop = node.scrollTop;
    let touchedAt = 0;
    const letGo = () => {
      if (node.scrollHeight <= node.clientHeight) return;
      letGoAt.current = performance.now();
      set(false);
    };
    const scrolled = () => {
      const { scrollTop, scrollHeight, clientHeight } = node;
      const atEnd = scrollHeight - scrollTop - clientHeight <= AT_END_PX;
      if (scrollTop < lastTop && !atEnd) letGo();
      if (scrollTop > lastTop && atEnd && performance.now() - letGoAt.current > LET_GO_MS) set(true);
      lastTop = scrollTop;
    };
    // The wish counts, not only its effect: following an answer that grows at each frame would undo the first step up.
    const wheel = ({ deltaY }: WheelEvent) => {
      if (deltaY < 0) letGo();
    };
    const touch = ({ touches }: TouchEvent) => {
      touchedAt = touches[0]?.clientY ?? 0;
    };
    const move = ({ touches }: TouchEvent) => {
      if ((touches[0]?.clientY ?? 0) > touchedAt) letGo();
    };
    const press = ({ key: pressed, target }: KeyboardEvent) => {
      if (!(target instanceof HTMLTextAreaElement) && ["ArrowUp", "PageUp", "Home"].includes(pressed)) letGo();
    };
    const grown = new ResizeObserver(() => {
      if (holds.current) node.scrollTop = node.scrollHeight;
    });
    grown.observe(node);
    if (node.firstElementChild) grown.observe(node.firstElementChild);
    node.addEventListener("scroll", scrolled, { passive: true });
    node.addEventListener("wheel", wheel, { passive: true });
    node.addEventListener("touchstart", touch, { passive: true });
    node.addEventListener("touchmove", move, { passive: true });
    node.addEventListener("keydown", press);
    return () => {
      grown.disconnect();
      node.removeEventListener("scroll", scrolled);
      node.removeEventListener("wheel", wheel);
      node.removeEventListener("touchstart", touch);
      node.removeEventListener("touchmove", move);
      node.removeEventListener("keydown", press);
    };
  }, [key, set, toEnd]);

  return { scroller, follows, toEnd };
}
