// The whole of one task, beside the list.
import { useTask } from "@tidewire/react";
import { useEffect } from "react";
import { Answer } from "../chat/Answer";
import { client } from "../server";

export function Inspector({ id, title, onClose }: { id: string; title: string; onClose: () => void }) {
  const answer = useTask(id);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key === "Escape") onClose();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [onClose]);
  return (
    <section className="inspector" aria-label="Task">
      <div className="head">
        <h2>{title}</h2>
        <button type="button" className="quiet small" onClick={onClose}>
          Close
        </button>
      </div>
      <Answer
        answer={answer}
        acts={null}
        onStop={() =>
          void client
            .follow(id)
            .stop()
            .catch(() => {})
        }
      />
    </section>
  );
}
