// The threads, newest first.
import { ago } from "../parts/words";
import { at } from "../router";
import { older, useThreads } from "./threads";

export function ThreadList({ current }: { current: string | undefined }) {
  const { headings, next, fault } = useThreads();
  if (headings.length === 0)
    return <p className="note">{fault ? fault.message : "Your chats appear here, on every device."}</p>;
  const now = Date.now();
  return (
    <nav aria-label="Chats">
      <ul>
        {headings.map(({ id, title, at: when }) => (
          <li key={id}>
            <a className="item" href={at("chat", id)} aria-current={id === current ? "page" : undefined}>
              <span>{title}</span>
              <span className="when number">{ago(now - when)}</span>
            </a>
          </li>
        ))}
      </ul>
      {next && (
        <button type="button" className="quiet small" onClick={() => void older()}>
          Older
        </button>
      )}
    </nav>
  );
}
