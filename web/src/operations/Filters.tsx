// What narrows a list of tasks. Typing applies after a short rest; the rest at once.
import { useEffect, useRef, useState, type ReactNode } from "react";
import { sentence } from "../parts/words";
import { useModels } from "../shell/models";
import { FIELDS, WITHIN, type Filter } from "./filter";

const REST_MS = 350;
const STATES = ["queued", "running", "queued,running", "done", "failed", "stopped"];
const TEXTS: { field: keyof Filter; name: string; hint: string }[] = [
  { field: "q", name: "Task", hint: "task_…" },
  { field: "user", name: "User", hint: "User" },
  { field: "code", name: "Error", hint: "Error code" },
  { field: "tenant", name: "Tenant", hint: "Tenant, all" },
];

type Props = {
  filter: Filter;
  onChange: (filter: Filter) => void;
  fields: readonly (keyof Filter)[];
  children?: ReactNode;
};

export function Filters({ filter, onChange, fields, children }: Props) {
  const { names } = useModels();
  const set = (field: keyof Filter, value: string) => onChange({ ...filter, [field]: value || undefined });
  const has = (field: keyof Filter) => fields.includes(field);
  const some = FIELDS.some((field) => has(field) && filter[field]);
  return (
    <div className="filters row" role="group" aria-label="Filter">
      {has("state") && (
        <Choice name="State" value={filter.state} onPick={(value) => set("state", value)} none="Any state">
          {STATES.map((state) => (
            <option key={state} value={state}>
              {state === "queued,running" ? "Queued or running" : sentence(state)}
            </option>
          ))}
        </Choice>
      )}
      {has("model") && (
        <Choice name="Model" value={filter.model} onPick={(value) => set("model", value)} none="Any model">
          {[...new Set([...names, ...(filter.model ? [filter.model] : [])])].map((name) => (
            <option key={name}>{name}</option>
          ))}
        </Choice>
      )}
      {has("within") && (
        <Choice name="Time" value={filter.within} onPick={(value) => set("within", value)} none="Any time">
          {Object.entries(WITHIN).map(([value, { name }]) => (
            <option key={value} value={value}>
              Last {name}
            </option>
          ))}
        </Choice>
      )}
      {TEXTS.filter(({ field }) => has(field)).map(({ field, name, hint }) => (
        <Typed key={field} name={name} hint={hint} value={filter[field] ?? ""} onType={(value) => set(field, value)} />
      ))}
      {some && (
        <button type="button" className="quiet small" onClick={() => onChange({})}>
          Clear
        </button>
      )}
      {children}
    </div>
  );
}

type ChoiceProps = {
  name: string;
  none: string;
  value: string | undefined;
  onPick: (value: string) => void;
  children: ReactNode;
};

const Choice = ({ name, none, value = "", onPick, children }: ChoiceProps) => (
  <select aria-label={name} value={value} data-set={value !== ""} onChange={(event) => onPick(event.target.value)}>
    <option value="">{none}</option>
    {children}
  </select>
);

type TypedProps = { name: string; hint: string; value: string; onType: (value: string) => void };

function Typed({ name, hint, value, onType }: TypedProps) {
  const [text, setText] = useState(value);
  const sent = useRef(value);
  const tell = useRef(onType);
  tell.current = onType;
  // The filter was changed from elsewhere: a link, the way back, Clear.
  if (sent.current !== value) {
    sent.current = value;
    if (text.trim() !== value) setText(value);
  }
  useEffect(() => {
    if (text.trim() === sent.current) return;
    const timer = setTimeout(() => {
      sent.current = text.trim();
      tell.current(text.trim());
    }, REST_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <input
      type="search"
      aria-label={name}
      placeholder={hint}
      value={text}
      spellCheck={false}
      autoComplete="off"
      data-set={value !== ""}
      onChange={(event) => setText(event.target.value)}
    />
  );
}
