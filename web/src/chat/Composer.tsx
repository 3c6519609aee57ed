// Where a message is written. It never locks: what is sent while an answer is on its way waits for its turn.
import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent } from "react";
import { memory } from "../memory";

type Props = {
  thread: string;
  draft: { text: string; at: number } | undefined;
  editing: boolean;
  /** What it says while it is empty. */
  hint: string;
  onSend: (text: string) => void;
  onCancel: () => void;
  onStop: () => void;
};

export function Composer({ thread, draft, editing, hint, onSend, onCancel, onStop }: Props) {
  const [text, setText] = useState(() => memory.read<string>(`draft.${thread}`, ""));
  const area = useRef<HTMLTextAreaElement>(null);
  const write = (value: string) => {
    setText(value);
    memory.write(`draft.${thread}`, value || undefined);
  };
  // Before the frame is painted: who edits a message finds it there at once.
  useLayoutEffect(() => {
    if (!draft) return;
    setText(draft.text);
    memory.write(`draft.${thread}`, draft.text);
    area.current?.focus();
  }, [draft, thread]);
  useEffect(() => {
    // A phone's keyboard would cover what is there to read.
    if (!matchMedia("(pointer: coarse)").matches) area.current?.focus({ preventScroll: true });
  }, []);
  useEffect(() => {
    const node = area.current;
    if (!node || CSS.supports("field-sizing", "content")) return;
    node.style.height = "auto";
    node.style.height = `${node.scrollHeight + 2}px`;
  }, [text]);
  const submit = () => {
    const prompt = text.trim();
    if (!prompt) return;
    write("");
    onSend(prompt);
    area.current?.focus();
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Escape") return editing ? onCancel() : onStop();
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    submit();
  };
  return (
    <form
      className="composer column"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {editing && (
        <div className="chip editing">
          Sends as another version of your message{" "}
          <button type="button" className="link" onClick={onCancel}>
            Cancel
          </button>
        </div>
      )}
      <label className="unseen" htmlFor="prompt">
        Your message
      </label>
      <textarea
        id="prompt"
        ref={area}
        rows={1}
        value={text}
        placeholder={hint}
        autoComplete="off"
        enterKeyHint="send"
        aria-describedby="keys"
        onChange={(event) => write(event.target.value)}
        onKeyDown={press}
      />
      <button type="submit" className="main" disabled={!text.trim()}>
        Send
      </button>
      <p id="keys" className="unseen">
        Enter sends, Shift and Enter breaks the line, Escape stops the newest answer.
      </p>
    </form>
  );
}
