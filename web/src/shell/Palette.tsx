// Ctrl-K: go anywhere and do anything by its name.
import { useEffect, useMemo, useRef, useState, type KeyboardEvent } from "react";
import { useThreads } from "../chat/threads";
import { go } from "../router";
import { setTheme } from "../theme";

type Entry = { name: string; hint: string; run: () => void };

export default function Palette({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const { headings } = useThreads();
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const entries = useMemo<Entry[]>(
    () => [
      { name: "New chat", hint: "Go", run: () => go("chat") },
      { name: "Tasks: new batch", hint: "Go", run: () => go("tasks") },
      { name: "Operations", hint: "Go", run: () => go("operations") },
      { name: "Theme: light", hint: "Look", run: () => setTheme("light") },
      { name: "Theme: dark", hint: "Look", run: () => setTheme("dark") },
      { name: "Theme: as the system has it", hint: "Look", run: () => setTheme("system") },
      ...headings.map(({ id, title }) => ({ name: title, hint: "Chat", run: () => go("chat", id) })),
    ],
    [headings],
  );
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = entries.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word))).slice(0, 50);
  const current = Math.min(at, found.length - 1);
  const run = (entry: Entry | undefined) => {
    onClose();
    entry?.run();
  };
  const press = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) setAt((current + step + found.length) % Math.max(1, found.length));
    else if (event.key === "Enter") run(found[current]);
    else return;
    event.preventDefault();
  };
  return (
    <dialog
      ref={dialog}
      className="palette"
      aria-label="Find and do"
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
    >
      <input
        type="text"
        value={query}
        placeholder="Find a chat, or do something"
        aria-label="Find and do"
        role="combobox"
        aria-expanded="true"
        aria-controls="found"
        aria-activedescendant={found.length ? `found-${current}` : undefined}
        onChange={(event) => {
          setQuery(event.target.value);
          setAt(0);
        }}
        onKeyDown={press}
      />
      <ul id="found" role="listbox" aria-label="Found">
        {found.map((entry, index) => (
          <li
            key={index}
            id={`found-${index}`}
            role="option"
            aria-selected={index === current}
            onClick={() => run(entry)}
            onPointerMove={() => setAt(index)}
          >
            {entry.name}
            <span className="muted">{entry.hint}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p className="list note muted">Nothing is named so.</p>}
    </dialog>
  );
}
