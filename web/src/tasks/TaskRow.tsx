// One task of a batch: where it stands, the newest of its words, and what can be done. Followed only while it is seen.
import { useTask } from "@tidewire/react";
import { memo } from "react";
import { hasEnded } from "../chat/Answer";
import { standing } from "../parts/words";
import { client } from "../server";

// What fits into a row on a wide screen.
const TAIL_CHARS = 160;

type Props = { id: string; title: string; looked: boolean; onLook: () => void; onRetry: () => void };

export const TaskRow = memo(function TaskRow({ id, title: name, looked, onLook, onRetry }: Props) {
  const answer = useTask(id);
  const { status, text, error } = answer;
  const ended = hasEnded(status);
  return (
    <div className="task" data-state={status} data-task={id} data-looked={looked}>
      <button type="button" className="look" onClick={onLook} aria-expanded={looked}>
        <span className="name">{name}</span>
        <span className="tail muted" aria-hidden="true">
          {error && status === "failed"
            ? `${error.message} (${error.code})`
            : ended
              ? text.slice(0, TAIL_CHARS)
              : text.slice(-TAIL_CHARS)}
        </span>
      </button>
      <span className="state number" data-state={status}>
        {standing(answer)}
      </span>
      <span className="does">
        {!ended && (
          <button
            type="button"
            className="quiet small"
            aria-label={`Stop ${name}`}
            onClick={() =>
              void client
                .follow(id)
                .stop()
                .catch(() => {})
            }
          >
            Stop
          </button>
        )}
        {status === "failed" && (
          <button type="button" className="quiet small" aria-label={`Retry ${name}`} onClick={onRetry}>
            Retry
          </button>
        )}
      </span>
    </div>
  );
});
