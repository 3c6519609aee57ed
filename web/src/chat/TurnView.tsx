// A message and its answer. Its key is the turn's from the first moment on, so that the ack changes nothing on the screen.
import { useTask } from "@tidewire/react";
import { memo, useEffect } from "react";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { client } from "../server";
import { Answer } from "./Answer";
import { again, complete, discard } from "./threads";
import type { Turn } from "./turns";

export interface TurnActs {
  edit: (turn: Turn) => void;
  choose: (after: string, id: string) => void;
}

type Props = { turn: Turn; siblings: readonly Turn[]; acts: TurnActs };

export const TurnView = memo(function TurnView({ turn, siblings, acts }: Props) {
  useEffect(() => {
    if (turn.cut && turn.task) complete(turn).catch(() => {});
  }, [turn]);
  return (
    <article className="turn" data-turn={turn.id} data-state={turn.state} aria-label="Message and answer">
      <div className="said">
        <span className="unseen">You:</span>
        <p className="ask">{turn.prompt || "…"}</p>
        <div className="row">
          <Mark turn={turn} />
          <Branches turn={turn} siblings={siblings} choose={acts.choose} />
          <button type="button" className="quiet small" onClick={() => acts.edit(turn)}>
            Edit
          </button>
        </div>
      </div>
      {turn.task ? <Answered turn={turn} task={turn.task} acts={acts} /> : <Unsent turn={turn} acts={acts} />}
    </article>
  );
});

function Answered({ turn, task, acts }: { turn: Turn; task: string; acts: TurnActs }) {
  const answer = useTask(task);
  const stop = () =>
    void client
      .follow(task)
      .stop()
      .catch(() => {});
  const code = answer.error?.code ?? "";
  const retry = (alone = false) => {
    const next = again(turn, alone);
    acts.choose(next.after ?? "", next.id);
  };
  return (
    <Answer
      answer={answer}
      onStop={stop}
      acts={
        <>
          <button type="button" className="quiet small" onClick={() => retry()}>
            {answer.status === "done" ? "Ask again" : "Retry"}
          </button>
          {turn.after && ["context_too_long", "too_large"].includes(code) && (
            <button type="button" className="quiet small" onClick={() => retry(true)}>
              Retry without the earlier messages
            </button>
          )}
          {answer.status === "failed" && (
            <button type="button" className="quiet small" onClick={() => acts.edit(turn)}>
              Edit
            </button>
          )}
        </>
      }
    />
  );
}

function Unsent({ turn, acts }: { turn: Turn; acts: TurnActs }) {
  if (turn.state !== "refused") {
    return (
      <div className="answer" data-state="sending">
        <div className="tide" />
        <div className="line">
          <span className="state">{turn.state === "held" ? "Waits for the answer above" : "Sending"}</span>
        </div>
        {turn.state === "sending" && <Skeleton />}
      </div>
    );
  }
  return (
    <div className="answer" data-state="refused">
      <Fault error={turn.error ?? { code: "internal", message: "It was not sent." }} kept="Your message is kept.">
        <button type="button" className="small" onClick={() => again(turn)}>
          Retry
        </button>
        <button type="button" className="small" onClick={() => acts.edit(turn)}>
          Edit
        </button>
        <button type="button" className="quiet small" onClick={() => discard(turn)}>
          Discard
        </button>
      </Fault>
    </div>
  );
}

const MARKS: Record<Turn["state"], [string, string]> = {
  held: ["◷", "Waits to be sent"],
  sending: ["◷", "Sending"],
  sent: ["✓", "Received by the server"],
  refused: ["!", "Not sent"],
};

function Mark({ turn }: { turn: Turn }) {
  const [sign, words] = MARKS[turn.state];
  return (
    <span className="mark" title={words}>
      <span aria-hidden="true">{sign}</span>
      <span className="unseen">{words}</span>
    </span>
  );
}

function Branches({ turn, siblings, choose }: { turn: Turn; siblings: readonly Turn[]; choose: TurnActs["choose"] }) {
  if (siblings.length < 2) return null;
  const at = siblings.findIndex(({ id }) => id === turn.id);
  const to = (step: number) => choose(turn.after ?? "", siblings[at + step]!.id);
  return (
    <span className="branches number">
      <button
        type="button"
        className="quiet small"
        aria-label="Earlier version"
        disabled={at <= 0}
        onClick={() => to(-1)}
      >
        ‹
      </button>
      {at + 1} of {siblings.length}
      <button
        type="button"
        className="quiet small"
        aria-label="Later version"
        disabled={at >= siblings.length - 1}
        onClick={() => to(1)}
      >
        ›
      </button>
    </span>
  );
}
