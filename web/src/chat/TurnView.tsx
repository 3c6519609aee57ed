// A message and its answer. Its key is the turn's from the first moment on, so that the ack changes nothing on the screen.
import { useTask } from "@tidewire/react";
import { memo, useEffect, type ReactNode } from "react";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { client } from "../server";
import { Answer } from "./Answer";
import { cannotSay } from "./asking";
import { again, complete, discard } from "./threads";
import type { Turn } from "./turns";

export interface TurnActs {
  edit: (turn: Turn) => void;
  choose: (after: string, id: string) => void;
  /** Hears of another attempt at an answer, where that is no branch. */
  tried?: (turn: Turn) => void;
}

type Props = {
  turn: Turn;
  versions: readonly string[];
  version: string;
  acts: TurnActs;
  /** What is said between the message and its answer. */
  children?: ReactNode;
};

export const TurnView = memo(function TurnView({ turn, versions, version, acts, children }: Props) {
  return (
    <article className="turn column" data-turn={turn.id} data-state={turn.state} aria-label="Message and answer">
      <Said turn={turn} versions={versions} version={version} acts={acts} />
      {children}
      <AnswerOf turn={turn} acts={acts} />
    </article>
  );
});

/** The message. */
export function Said({ turn, versions, version, acts }: Props) {
  useEffect(() => {
    if (turn.cut && turn.task) complete(turn).catch(() => {});
  }, [turn]);
  const choose = (to: string) => acts.choose(turn.after ?? "", to);
  return (
    <div className="said">
      <span className="unseen">You:</span>
      <p className="ask">{turn.prompt || "…"}</p>
      <div className="row">
        <Mark turn={turn} />
        <Versions all={versions} now={version} choose={choose} />
        <button type="button" className="quiet small" onClick={() => acts.edit(turn)}>
          Edit
        </button>
      </div>
    </div>
  );
}

/** The turn's answer, or where its message stands. `more` are further things to do with an answer. */
export function AnswerOf({ turn, acts, more }: { turn: Turn; acts: TurnActs; more?: ReactNode }) {
  if (!turn.task) return <Unsent turn={turn} acts={acts} />;
  return <Answered turn={turn} task={turn.task} acts={acts} more={more} />;
}

function Answered({ turn, task, acts, more }: { turn: Turn; task: string; acts: TurnActs; more: ReactNode }) {
  const answer = useTask(task);
  const stop = () =>
    void client
      .follow(task)
      .stop()
      .catch(() => {});
  const code = answer.error?.code ?? "";
  const retry = (alone = false) => {
    const next = again(turn, alone);
    if (acts.tried) acts.tried(next);
    else if (!next.beside) acts.choose(next.after ?? "", next.id);
  };
  const unsure = () => {
    cannotSay(turn.model);
    retry();
  };
  return (
    <Answer
      answer={answer}
      onStop={stop}
      sure={turn.sure === true}
      since={turn.submittedAt}
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
          {turn.sure && code === "invalid_input" && (
            <button type="button" className="quiet small" onClick={unsure}>
              Retry without asking how sure it is
            </button>
          )}
          {answer.status === "failed" && (
            <button type="button" className="quiet small" onClick={() => acts.edit(turn)}>
              Edit
            </button>
          )}
          {more}
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

export function Mark({ turn }: { turn: Turn }) {
  const [sign, words] = MARKS[turn.state];
  return (
    <span className="mark" title={words}>
      <span aria-hidden="true">{sign}</span>
      <span className="unseen">{words}</span>
    </span>
  );
}

export function Versions({ all, now, choose }: { all: readonly string[]; now: string; choose: (to: string) => void }) {
  if (all.length < 2) return null;
  const at = all.indexOf(now);
  return (
    <span className="branches number">
      <button
        type="button"
        className="quiet small"
        aria-label="Earlier version"
        disabled={at <= 0}
        onClick={() => choose(all[at - 1]!)}
      >
        ‹
      </button>
      {at + 1} of {all.length}
      <button
        type="button"
        className="quiet small"
        aria-label="Later version"
        disabled={at >= all.length - 1}
        onClick={() => choose(all[at + 1]!)}
      >
        ›
      </button>
    </span>
  );
}
