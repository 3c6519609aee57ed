// Who may do what: keys, made and revoked by those who may, and what operators did.
import { useCallback, useEffect, useState } from "react";
import { CopyButton } from "../parts/CopyButton";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { number } from "../parts/words";
import { call, told, type Caller } from "../server";
import { Audit } from "./Audit";
import { Dialog } from "./Dialog";
import { moment, usd } from "./figures";
import { LimitsForm, NewKey } from "./KeyForms";
import { LIMITS, type Key, type Limits } from "./key";

export default function Keys({ who }: { who: Caller }) {
  const [keys, setKeys] = useState<Key[]>();
  const [error, setError] = useState<unknown>();
  const [open, setOpen] = useState<{ what: "new" } | { what: "revoke" | "limits"; key: Key }>();
  const [secret, setSecret] = useState<{ secret: string; key: Key }>();
  const [changes, count] = useState(0);
  const may = who.scopes.includes("admin:write");
  useEffect(() => {
    let left = false;
    call<{ keys: Key[] }>("v1/admin/keys").then(
      (found) => left || (setKeys(found.keys.toReversed()), setError(undefined)),
      (fault: unknown) => left || setError(fault),
    );
    return () => {
      left = true;
    };
  }, [changes]);
  const close = useCallback(() => setOpen(undefined), []);
  const done = () => {
    close();
    count((before) => before + 1);
  };
  return (
    <main className="body">
      <section aria-labelledby="keys">
        <h2 id="keys">
          Keys <small>newest first; their secrets are known to nobody here</small>
          {may && (
            <button type="button" className="small push" onClick={() => setOpen({ what: "new" })}>
              New key
            </button>
          )}
        </h2>
        {secret && <Secret made={secret.key} secret={secret.secret} onDone={() => setSecret(undefined)} />}
        {error !== undefined && (
          <Fault error={told(error)}>
            <button type="button" className="small" onClick={done}>
              Retry
            </button>
          </Fault>
        )}
        {!keys && error === undefined && <Skeleton lines={4} />}
        {keys?.length === 0 && (
          <p className="note muted">
            There is no key: on this machine's own address everybody may do everything. The first key ends that:{" "}
            <code>tidewire keys create</code>
          </p>
        )}
        {keys && keys.length > 0 && (
          <ul className="keys">
            {keys.map((key) => (
              <KeyRow
                key={key.id}
                of={key}
                may={may}
                own={who.key === key.id}
                onRevoke={() => setOpen({ what: "revoke", key })}
                onLimits={() => setOpen({ what: "limits", key })}
              />
            ))}
          </ul>
        )}
      </section>
      <Audit version={changes} />
      {open?.what === "new" && (
        <NewKey
          onClose={close}
          onMade={(made) => {
            setSecret(made);
            done();
          }}
        />
      )}
      {open?.what === "limits" && <LimitsForm of={open.key} onClose={close} onDone={done} />}
      {open?.what === "revoke" && <Revoke of={open.key} own={who.key === open.key.id} onClose={close} onDone={done} />}
    </main>
  );
}

function Secret({ secret, made, onDone }: { secret: string; made: Key; onDone: () => void }) {
  return (
    <div className="panel secret" role="group" aria-label="New key's secret">
      <p>
        The secret of <strong>{made.name || "the new key"}</strong>. It is shown this once, and can't be found out
        again.
      </p>
      <p className="row">
        <code id="secret">{secret}</code>
        <CopyButton what="the secret" text={() => secret} />
        <button type="button" className="small push" onClick={onDone}>
          I have it
        </button>
      </p>
    </div>
  );
}

type RowProps = { of: Key; may: boolean; own: boolean; onRevoke: () => void; onLimits: () => void };

function KeyRow({ of: key, may, own, onRevoke, onLimits }: RowProps) {
  const [state, words] = standing(key);
  const name = key.name || key.id;
  return (
    <li className="panel key" data-key={key.id}>
      <div className="row">
        <h3>{name}</h3>
        <span className="state" data-state={state}>
          {words}
        </span>
        {own && <span className="chip">this session</span>}
        {may && !key.revoked_at && (
          <span className="row push">
            <button type="button" className="quiet small" aria-label={`Limits of ${name}`} onClick={onLimits}>
              Limits
            </button>
            <button type="button" className="quiet small" aria-label={`Revoke ${name}`} onClick={onRevoke}>
              Revoke
            </button>
          </span>
        )}
      </div>
      <p className="muted">
        <span className="id">{key.id}</span> · tenant {key.tenant}
        {key.user ? ` · user ${key.user}` : ""} · made {moment(key.created_at)}
        {key.expires_at && !key.revoked_at ? ` · ends ${moment(key.expires_at)}` : ""}
      </p>
      <p>
        {key.role ? <strong>{key.role}</strong> : null} <span className="muted">{key.scopes.join(", ")}</span>
        {key.routes ? <span className="muted"> · only {key.routes.join(", ")}</span> : null}
      </p>
      <p className="muted number">{limitsOf(key.limits) || "No limits of its own"}</p>
    </li>
  );
}

export function limitsOf(limits: Limits): string {
  return LIMITS.flatMap(({ field, short, money }) => {
    const value = limits[field];
    return value === undefined ? [] : [`${money ? usd(value) : number(value)} ${short}`];
  }).join(" · ");
}

function standing({ revoked_at, expires_at }: Key): [state: string, words: string] {
  if (revoked_at) return ["stopped", `Revoked ${moment(revoked_at)}`];
  if (expires_at && expires_at <= Date.now()) return ["waiting", "Expired"];
  return ["running", "In force"];
}

function Revoke({ of: key, own, onClose, onDone }: { of: Key; own: boolean; onClose: () => void; onDone: () => void }) {
  const [error, setError] = useState<unknown>();
  const revoke = () => {
    call(`v1/admin/keys/${key.id}/revoke`, { method: "POST" }).then(onDone, setError);
  };
  return (
    <Dialog
      title={`Revoke ${key.name || key.id}?`}
      onClose={onClose}
      onSubmit={revoke}
      acts={
        <>
          <button type="button" onClick={onClose}>
            Keep it
          </button>
          <button type="submit" className="main danger">
            Revoke for good
          </button>
        </>
      }
    >
      <p>
        Whatever uses this key is refused within five seconds, and can't be let in with it again. Its tasks go on.
        {own && <strong> It is the key of this session: you will be signed out.</strong>}
      </p>
      {error !== undefined && <Fault error={told(error)} />}
    </Dialog>
  );
}
