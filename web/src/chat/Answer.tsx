// One answer: its text as it comes, where it stands, what went wrong, and what it cost.
import type { Snapshot } from "@tidewire/client";
import { lazy, Suspense, useEffect, useRef, type ReactNode } from "react";
import { Age } from "../parts/Age";
import { Confidence } from "../parts/Confidence";
import { CopyButton } from "../parts/CopyButton";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { dollars, number, standing, time } from "../parts/words";
import { Prose } from "../prose/Prose";
import { say } from "../say";
import { useAsking } from "./asking";

const Doubts = lazy(() => import("../prose/Doubts"));

const ENDED = new Set(["done", "failed", "stopped"]);
export const hasEnded = (status: string) => ENDED.has(status);

type Props = {
  answer: Snapshot;
  onStop: () => void;
  /** The model was asked how sure it is. */
  sure?: boolean;
  /** When it was submitted, by the server's clock: what a tab that did not send it tells the wait for its first token by. */
  since?: number | undefined;
  acts: ReactNode;
};

export function Answer({ answer, onStop, sure = false, since, acts }: Props) {
  const { status, text, reasoning, error, cache, startedAt, logprobs, toolCalls } = answer;
  const live = !hasEnded(status);
  const marks = useAsking().sure;
  const body = useRef<HTMLDivElement>(null);
  useAnnouncement(answer);
  return (
    <div className="answer" data-state={status} data-task={answer.id} aria-busy={live}>
      <div className="tide" />
      <div className="line">
        <span className="unseen">Answer:</span>
        <span className="state number" data-state={status}>
          {standing(answer)}
        </span>
        {cache && <Age note={cache} since={startedAt ?? Date.now()} />}
        <span className="push row">
          {!live && text && <CopyButton text={() => text} what="answer" />}
          {live && (
            <button type="button" className="small" onClick={onStop}>
              Stop
            </button>
          )}
        </span>
      </div>
      {reasoning && (
        <details className="reasoning">
          <summary>Reasoning</summary>
          <p>{reasoning}</p>
        </details>
      )}
      {toolCalls?.map(({ name, arguments: given }, at) => (
        <details className="reasoning" key={at}>
          <summary>Calls {name}</summary>
          <p>{given}</p>
        </details>
      ))}
      <div ref={body}>{text ? <Prose text={text} live={live} /> : live && !toolCalls && <Skeleton />}</div>
      {status === "failed" && error && (
        <Fault
          error={{ code: error.code, message: error.message, requestId: error.requestId }}
          kept={text ? "What had come until then is kept above." : "Your message is kept."}
        >
          {acts}
        </Fault>
      )}
      {/* What still comes has no marks: they would have to be found anew at each frame. */}
      <Suspense>{!live && marks && logprobs && <Doubts text={text} logprobs={logprobs} body={body} />}</Suspense>
      {!live && <Figures answer={answer} sure={sure} since={since} acts={status === "failed" ? undefined : acts} />}
    </div>
  );
}

type Told = Pick<Props, "answer" | "since" | "acts"> & { sure: boolean };

function Figures({ answer, sure, since, acts }: Told) {
  const { usage, cost, ttftMs, finishReason, model, deployment, attempt, logprobs, id, startedAt, firstAt, endedAt } =
    answer;
  const about = usage?.estimated ? "about " : "";
  const first = ttftMs ?? (since !== undefined && firstAt !== undefined ? firstAt - since : undefined);
  const shown = [
    first !== undefined && `first token ${time(first)}`,
    usage && `${about}${number(usage.input_tokens)} in, ${number(usage.output_tokens)} out`,
    usage &&
      startedAt &&
      endedAt &&
      endedAt > startedAt &&
      `${((usage.output_tokens * 1000) / (endedAt - startedAt)).toFixed(1)} tokens/s`,
    cost !== undefined && dollars(cost),
    finishReason === "length" && "cut at the length limit",
    attempt !== undefined && attempt > 1 && `${attempt} attempts`,
    model && (deployment && deployment !== model ? `${model} at ${deployment}` : model),
  ].filter(Boolean) as string[];
  return (
    <div className="figures number">
      {shown.map((text, at) => (
        <span key={at}>{text}</span>
      ))}
      {(logprobs || sure) && <Confidence logprobs={logprobs} />}
      <a className="id" href={`./v1/tasks/${id}`} target="_blank" rel="noopener">
        {id}
      </a>
      {acts && <span className="row push">{acts}</span>}
    </div>
  );
}

/** Start and end are said, each word is not. */
function useAnnouncement({ status, error }: Snapshot) {
  const before = useRef<string>(undefined);
  useEffect(() => {
    const was = before.current;
    before.current = status;
    if (was === undefined || was === status || hasEnded(was)) return;
    if (status === "running") say("The answer begins.");
    if (status === "done") say("The answer is complete.");
    if (status === "stopped") say("Stopped.");
    if (status === "failed") say(`Failed: ${error?.message ?? "no cause is given"}`);
  }, [status, error]);
}
