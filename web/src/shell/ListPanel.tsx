// The list beside the content; on a narrow screen a drawer.
import { useEffect, useState, type ReactNode } from "react";

const OPEN = "tidewire:list";

export function OpenList() {
  return (
    <button
      type="button"
      className="quiet openlist"
      aria-label="Open the list"
      onClick={() => dispatchEvent(new Event(OPEN))}
    >
      ☰
    </button>
  );
}

export function ListPanel({ title, action, children }: { title: string; action?: ReactNode; children: ReactNode }) {
  const [open, setOpen] = useState(false);
  useEffect(() => {
    const show = () => setOpen(true);
    const hide = () => setOpen(false);
    const press = (event: KeyboardEvent) => {
      if (event.key === "Escape") hide();
    };
    addEventListener(OPEN, show);
    addEventListener("hashchange", hide);
    addEventListener("keydown", press);
    return () => {
      removeEventListener(OPEN, show);
      removeEventListener("hashchange", hide);
      removeEventListener("keydown", press);
    };
  }, []);
  return (
    <>
      <aside className="list" data-open={open} aria-label={title}>
        <div className="head">
          <h2>{title}</h2>
          {action}
        </div>
        <div className="body">{children}</div>
      </aside>
      <button type="button" className="scrim" aria-label="Close the list" onClick={() => setOpen(false)} />
    </>
  );
}
