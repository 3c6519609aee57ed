// Many tasks at once: files or lines, and one prompt for all of them.
import { useRef, useState, type DragEvent, type FormEvent } from "react";
import { memory } from "../memory";
import { Fault } from "../parts/Fault";
import { number } from "../parts/words";
import { go } from "../router";
import { OpenList } from "../shell/ListPanel";
import { useModels } from "../shell/models";
import { drop, MAX_ITEMS, order, submit, useSendings, type Item, type Order } from "./submit";

export function NewBatch() {
  const [prompt, setPrompt] = useState(() => memory.read("tasks.prompt", ""));
  const [lines, setLines] = useState(() => memory.read("tasks.lines", ""));
  const [files, setFiles] = useState<File[]>([]);
  const [over, setOver] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const { model, names, choose } = useModels();
  const titles = lines
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
  const count = titles.length + files.length;
  const add = (list: FileList | null) => {
    // Taken out at once: the browser empties the list with the field.
    const added = [...(list ?? [])];
    setFiles((before) => [...before, ...added]);
  };
  const dropped = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    add(event.dataTransfer.files);
  };
  const run = (asked: Order) =>
    void submit(asked).then((batch) => {
      if (batch) go("tasks", batch);
    });
  const send = (event: FormEvent) => {
    event.preventDefault();
    if (count === 0 || count > MAX_ITEMS) return;
    const items: Item[] = [...files.map((file) => ({ title: file.name, file })), ...titles.map((title) => ({ title }))];
    run(order(prompt, model, items));
    setFiles([]);
    setLines("");
    memory.write("tasks.lines", "");
  };
  return (
    <div className="content">
      <header className="head">
        <OpenList />
        <h1>New batch</h1>
      </header>
      <main
        className="newbatch"
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={dropped}
        data-over={over}
      >
        <Sendings onRetry={run} />
        <form onSubmit={send}>
          <label htmlFor="ask">What to do with each</label>
          <textarea
            id="ask"
            rows={2}
            value={prompt}
            placeholder="Summarise this in three sentences."
            onChange={(event) => {
              setPrompt(event.target.value);
              memory.write("tasks.prompt", event.target.value);
            }}
          />
          <label htmlFor="lines">One item a line</label>
          <textarea
            id="lines"
            rows={8}
            value={lines}
            placeholder={
              "Paste titles, questions or addresses, one a line.\nWhere the prompt says {item}, the line goes there; else after it."
            }
            onChange={(event) => {
              setLines(event.target.value);
              memory.write("tasks.lines", event.target.value);
            }}
          />
          <div className="drop">
            <p>
              Drop files here, or{" "}
              <button type="button" className="link" onClick={() => picker.current?.click()}>
                choose files
              </button>
              . Their text is read on the server: PDF, Word, HTML, Markdown, plain text.
            </p>
            <input
              ref={picker}
              type="file"
              multiple
              hidden
              aria-label="Files"
              onChange={(event) => {
                add(event.target.files);
                event.target.value = "";
              }}
            />
            {files.length > 0 && (
              <p className="row">
                <span className="chip number">
                  {number(files.length)} {files.length === 1 ? "file" : "files"}:{" "}
                  {files
                    .slice(0, 3)
                    .map(({ name }) => name)
                    .join(", ")}
                  {files.length > 3 ? ", …" : ""}
                </span>
                <button type="button" className="link" onClick={() => setFiles([])}>
                  Remove
                </button>
              </p>
            )}
          </div>
          <div className="row">
            {names.length > 1 && (
              <label className="pick">
                <span className="unseen">Model</span>
                <select value={model} onChange={(event) => choose(event.target.value)}>
                  {names.map((name) => (
                    <option key={name}>{name}</option>
                  ))}
                </select>
              </label>
            )}
            <button type="submit" className="main push" disabled={count === 0 || count > MAX_ITEMS}>
              {count === 0 ? "Submit" : `Submit ${number(count)} ${count === 1 ? "task" : "tasks"}`}
            </button>
          </div>
          {count > MAX_ITEMS && <p className="muted">A batch takes {number(MAX_ITEMS)} tasks at most.</p>}
        </form>
      </main>
    </div>
  );
}

function Sendings({ onRetry }: { onRetry: (asked: Order) => void }) {
  return useSendings().map((one) =>
    one.error ? (
      <Fault key={one.id} error={one.error} kept={`“${one.title}”: ${number(one.items.length)} tasks are kept here.`}>
        <button type="button" className="small" onClick={() => onRetry(one)}>
          Retry
        </button>
        <button type="button" className="quiet small" onClick={() => drop(one.id)}>
          Discard
        </button>
      </Fault>
    ) : (
      <p key={one.id} className="chip" role="status">
        “{one.title}”:{" "}
        {one.items.some(({ file }) => file)
          ? `${one.uploaded} of ${one.items.filter(({ file }) => file).length} files are up`
          : "submitting"}
      </p>
    ),
  );
}
