// How the next messages are asked: of how many models at once, and whether they say how sure they are.
import { useModels } from "../shell/models";
import { ask, useAsking } from "./asking";
import { MAX_PANES } from "./turns";
import "./options.css";

export default function Options() {
  const { names, model } = useModels();
  const { beside, sure } = useAsking();
  const one = model ?? "";
  const asked = beside.length > 1 ? beside : [one];
  const set = (next: string[]) => ask({ beside: next.length > 1 ? next : [] });
  // The models that are not asked yet come first; of a server with one, the same is asked once more.
  const add = () => set([...asked, names.find((name) => !asked.includes(name)) ?? one]);
  const change = (at: number, name: string) => set(asked.map((other, place) => (place === at ? name : other)));
  return (
    <div className="asking">
      <h2>Answers side by side</h2>
      {beside.length > 1 && (
        <ol>
          {asked.map((name, at) => (
            <li key={at} className="row">
              <select
                aria-label={`Model of answer ${at + 1}`}
                value={name}
                onChange={(event) => change(at, event.target.value)}
              >
                {(names.includes(name) ? names : [name, ...names]).map((other) => (
                  <option key={other}>{other}</option>
                ))}
              </select>
              <button
                type="button"
                className="quiet"
                aria-label={`Leave out answer ${at + 1}`}
                onClick={() => set(asked.filter((_, place) => place !== at))}
              >
                ×
              </button>
            </li>
          ))}
        </ol>
      )}
      <p className="muted">
        {beside.length > 1
          ? "Each message goes to all of these at once. You go on with the answer that you like best."
          : "Ask several models the same, or one model several times, and go on with the answer that you like best."}
      </p>
      <div className="row">
        {asked.length < MAX_PANES && (
          <button type="button" onClick={add}>
            Add an answer
          </button>
        )}
        {beside.length > 1 && (
          <button type="button" className="quiet" onClick={() => set([])}>
            Only one
          </button>
        )}
      </div>
      <h2>Confidence</h2>
      <label className="check">
        <input type="checkbox" checked={sure} onChange={(event) => ask({ sure: event.target.checked, unable: [] })} />
        <span>
          Show how sure the model is
          <span className="muted">
            {" "}
            of its words, and underline those it had doubts about. Not every model says it.
          </span>
        </span>
      </label>
    </div>
  );
}
