// Nothing is here yet: one thing to do, and the same from a terminal.
import { CopyButton } from "../parts/CopyButton";
import { base } from "../server";

const SUGGESTION = "Why is the sea salty?";

export function Empty({ model, onAsk }: { model: string | undefined; onAsk: (prompt: string) => void }) {
  const body = JSON.stringify({ prompt: SUGGESTION, ...(model ? { model } : {}) });
  const curl = `curl ${base.href}v1/tasks -H 'content-type: application/json' -d '${body}'`;
  return (
    <section className="empty column">
      <h2>Ask something. It will not get lost.</h2>
      <p className="muted">
        Every answer is a log on the server. Reload, lose the network or close the tab: it goes on, and you come back to
        the same word.
      </p>
      <button type="button" className="suggest" onClick={() => onAsk(SUGGESTION)}>
        {SUGGESTION} <span aria-hidden="true">→</span>
      </button>
      <p className="muted">Or from a terminal:</p>
      <div className="curl">
        <code>{curl}</code>
        <CopyButton text={() => curl} what="command" />
      </div>
    </section>
  );
}
