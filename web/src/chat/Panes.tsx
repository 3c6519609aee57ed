// Answers side by side: one message, up to four answers, each its own task. One of them is gone on with.
import { useEffect, useMemo, useRef, useState } from "react";
import { pick } from "./threads";
import type { Step, Turn } from "./turns";
import { AnswerOf, Said, TurnView, Versions, type TurnActs } from "./TurnView";
import { useFollow } from "./useFollow";
import "./panes.css";

export default function Panes({ step, acts }: { step: Step; acts: TurnActs }) {
  const { panes = [], picked, turn, version } = step;
  // Once one is gone on with, the others are a look away.
  const [all, setAll] = useState(false);
  useEffect(() => setAll(false), [picked]);
  const onOne = useMemo(() => ({ ...acts, tried: (next: Turn) => pick(version, next.id) }), [acts, version]);
  if (picked && !all) {
    return (
      <TurnView {...step} acts={onOne}>
        <p className="one row">
          <span className="muted">
            One of {panes.length} answers{turn.model ? `, of ${turn.model}` : ""}
          </span>
          <button type="button" className="quiet small" onClick={() => setAll(true)}>
            Show all {panes.length}
          </button>
        </p>
      </TurnView>
    );
  }
  return (
    <article className="turn beside" data-group={version} aria-label={`Message and ${panes.length} answers`}>
      <div className="column">
        <Said {...step} turn={panes[0]!.at(-1)!} acts={acts} />
      </div>
      <Grid
        panes={panes}
        acts={acts}
        picked={picked ? turn.id : undefined}
        onPick={(one) => {
          pick(version, one.id);
          setAll(false);
        }}
      />
    </article>
  );
}

type GridProps = { panes: Turn[][]; acts: TurnActs; picked: string | undefined; onPick: (one: Turn) => void };

function Grid({ panes, acts, picked, onPick }: GridProps) {
  const strip = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState(0);
  // On a phone one is seen at a time: a swipe or a tab goes to the next.
  const swiped = () => {
    const node = strip.current!;
    setSeen(Math.round(node.scrollLeft / Math.max(1, node.clientWidth)));
  };
  const to = (at: number) => {
    const node = strip.current!;
    node.scrollTo({ left: at * node.clientWidth, behavior: "smooth" });
  };
  return (
    <>
      <div className="tabs row" role="group" aria-label="Answers">
        {panes.map((attempts, at) => (
          <button key={at} type="button" className="small" aria-pressed={at === seen} onClick={() => to(at)}>
            {at + 1} {attempts.at(-1)!.model ?? ""}
          </button>
        ))}
      </div>
      <div ref={strip} className="panes" data-count={panes.length} onScroll={swiped}>
        {panes.map((attempts) => (
          <Pane key={attempts[0]!.beside!.at} attempts={attempts} acts={acts} picked={picked} onPick={onPick} />
        ))}
      </div>
    </>
  );
}

function Pane({ attempts, acts, picked, onPick }: Omit<GridProps, "panes"> & { attempts: Turn[] }) {
  const [chosen, choose] = useState<string>();
  const turn = attempts.find(({ id }) => id === (chosen ?? picked)) ?? attempts.at(-1)!;
  // Another attempt is what is looked at.
  const newest = attempts.at(-1)!.id;
  useEffect(() => choose(undefined), [newest]);
  const { scroller, follows, toEnd } = useFollow(turn.id);
  return (
    <section
      className="pane"
      data-turn={turn.id}
      data-picked={turn.id === picked}
      aria-label={`Answer ${turn.beside!.at + 1}`}
    >
      <header className="row">
        <strong className="number">{turn.beside!.at + 1}</strong>
        <span className="name">{turn.model}</span>
        <Versions all={attempts.map(({ id }) => id)} now={turn.id} choose={choose} />
        {turn.id === picked ? (
          <span className="push muted">Gone on with</span>
        ) : (
          turn.task && (
            <button type="button" className="small push" onClick={() => onPick(turn)}>
              Go on with this one
            </button>
          )
        )}
      </header>
      <div
        ref={scroller as React.RefObject<HTMLDivElement>}
        className="inside"
        tabIndex={0}
        role="region"
        aria-label={`Text of answer ${turn.beside!.at + 1}`}
      >
        <div>
          <AnswerOf turn={turn} acts={acts} />
        </div>
      </div>
      {!follows && (
        <button type="button" className="chip latest" onClick={toEnd}>
          Latest <span aria-hidden="true">↓</span>
        </button>
      )}
    </section>
  );
}
