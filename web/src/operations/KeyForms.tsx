// The forms of a key: a new one, and other limits for one that is there.
import { useState, type ReactNode } from "react";
import { Fault } from "../parts/Fault";
import { call, told } from "../server";
import { Dialog } from "./Dialog";
import { limits, LIMITS, type Key } from "./key";

const KINDS = [
  { value: "", name: "Application: submit and read tasks, files, streams" },
  { value: "read-only", name: "Operator, read only" },
  { value: "operator", name: "Operator: also stops, retries, backups" },
  { value: "admin", name: "Admin: also keys and tenants" },
];
const DAY_MS = 86_400_000;
const LIVES = [
  { value: "", name: "Until it is revoked" },
  { value: "1", name: "1 day" },
  { value: "30", name: "30 days" },
  { value: "365", name: "1 year" },
];

type Typed = Record<string, string>;
const list = (text: string | undefined) =>
  text
    ?.split(",")
    .map((one) => one.trim())
    .filter(Boolean) ?? [];

export function NewKey({
  onClose,
  onMade,
}: {
  onClose: () => void;
  onMade: (made: { secret: string; key: Key }) => void;
}) {
  const [typed, type] = useState<Typed>({ tenant: "default" });
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const set = (name: string) => (value: string) => type((before) => ({ ...before, [name]: value }));
  const wanted = limits(typed);
  const make = () => {
    if (!wanted || busy) return;
    setBusy(true);
    const { name = "", tenant, role, routes, user, days } = typed;
    const json = {
      name: name.trim(),
      ...(tenant?.trim() ? { tenant: tenant.trim() } : {}),
      ...(role ? { role } : {}),
      ...(list(routes).length ? { routes: list(routes) } : {}),
      ...(user?.trim() ? { user: user.trim() } : {}),
      ...(days ? { expires_at: Date.now() + Number(days) * DAY_MS } : {}),
      limits: wanted,
    };
    call<{ secret: string; key: Key }>("v1/admin/keys", { json })
      .then(onMade, setError)
      .finally(() => setBusy(false));
  };
  return (
    <Dialog
      title="New key"
      onClose={onClose}
      onSubmit={make}
      acts={
        <>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="main" disabled={!wanted || busy}>
            Make the key
          </button>
        </>
      }
    >
      <div className="fields">
        <Field name="Name" value={typed.name} onType={set("name")} hint="Website, nightly reports, Mo" />
        <Field name="Tenant" value={typed.tenant} onType={set("tenant")} />
        <Pick name="What it is for" value={typed.role} onPick={set("role")} choices={KINDS} />
        <Field
          name="Only these models"
          value={typed.routes}
          onType={set("routes")}
          hint="all; else names with commas"
        />
        <Field name="Only for this user" value={typed.user} onType={set("user")} hint="any" />
        <Pick name="Ends after" value={typed.days} onPick={set("days")} choices={LIVES} />
      </div>
      <LimitFields typed={typed} set={set} bad={!wanted} />
      {error !== undefined && <Fault error={told(error)} />}
    </Dialog>
  );
}

export function LimitsForm({ of: key, onClose, onDone }: { of: Key; onClose: () => void; onDone: () => void }) {
  const [typed, type] = useState<Typed>(() =>
    Object.fromEntries(Object.entries(key.limits).map(([name, value]) => [name, String(value)])),
  );
  const [error, setError] = useState<unknown>();
  const set = (name: string) => (value: string) => type((before) => ({ ...before, [name]: value }));
  const wanted = limits(typed);
  const save = () => {
    if (wanted) call(`v1/admin/keys/${key.id}`, { json: { limits: wanted } }).then(onDone, setError);
  };
  return (
    <Dialog
      title={`Limits of ${key.name || key.id}`}
      onClose={onClose}
      onSubmit={save}
      acts={
        <>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className="main" disabled={!wanted}>
            Set the limits
          </button>
        </>
      }
    >
      <LimitFields typed={typed} set={set} bad={!wanted} />
      {error !== undefined && <Fault error={told(error)} />}
    </Dialog>
  );
}

function LimitFields({
  typed,
  set,
  bad,
}: {
  typed: Typed;
  set: (name: string) => (value: string) => void;
  bad: boolean;
}) {
  return (
    <fieldset>
      <legend>Limits; an empty field is none</legend>
      <div className="fields">
        {LIMITS.map(({ field, name }) => (
          <Field key={field} name={name} value={typed[field]} onType={set(field)} hint="none" number />
        ))}
      </div>
      {bad && <p role="alert">A limit is a number, 0 or more; requests and tokens are whole ones.</p>}
    </fieldset>
  );
}

type FieldProps = {
  name: string;
  value: string | undefined;
  onType: (value: string) => void;
  hint?: string;
  number?: boolean;
};

const Field = ({ name, value = "", onType, hint = "", number = false }: FieldProps) => (
  <Labelled name={name}>
    <input
      type="text"
      value={value}
      placeholder={hint}
      spellCheck={false}
      autoComplete="off"
      {...(number ? { inputMode: "decimal" as const } : {})}
      onChange={(event) => onType(event.target.value)}
    />
  </Labelled>
);

type PickProps = {
  name: string;
  value: string | undefined;
  onPick: (value: string) => void;
  choices: { value: string; name: string }[];
};

const Pick = ({ name, value = "", onPick, choices }: PickProps) => (
  <Labelled name={name}>
    <select value={value} onChange={(event) => onPick(event.target.value)}>
      {choices.map((choice) => (
        <option key={choice.value} value={choice.value}>
          {choice.name}
        </option>
      ))}
    </select>
  </Labelled>
);

const Labelled = ({ name, children }: { name: string; children: ReactNode }) => (
  <label>
    <span>{name}</span>
    {children}
  </label>
);
