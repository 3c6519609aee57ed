// Asked where the server wants to know who it is: a key, or the operator's sign-in provider.
import { useEffect, useState, type FormEvent } from "react";
import { Fault } from "../parts/Fault";
import { base, session, told, type Caller } from "../server";

export function SignIn({ onEnter }: { onEnter: (who: Caller) => void }) {
  const [key, setKey] = useState("");
  const [ways, setWays] = useState<string[]>(["key"]);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<ReturnType<typeof told>>();
  useEffect(() => {
    session.ways().then(
      ({ ways: found }) => setWays(found),
      () => {},
    );
  }, []);
  const enter = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFault(undefined);
    try {
      const who = await session.begin(key.trim());
      onEnter(who);
      // What was refused before opens anew with the cookie.
      location.reload();
    } catch (error) {
      setFault(told(error));
    } finally {
      setBusy(false);
    }
  };
  const back = `${base.pathname}${location.hash}`;
  return (
    <main className="sign">
      <h1>Sign in to Tidewire</h1>
      {ways.includes("key") && (
        <form onSubmit={enter}>
          <label htmlFor="key">Key</label>
          <input
            id="key"
            type="password"
            value={key}
            placeholder="tw_…"
            autoComplete="current-password"
            spellCheck={false}
            autoFocus
            onChange={(event) => setKey(event.target.value)}
          />
          <div>
            <button type="submit" className="main" disabled={busy || !key.trim()}>
              {busy ? "Signing in" : "Sign in"}
            </button>
          </div>
        </form>
      )}
      {ways.includes("oidc") && (
        <div>
          <a className="button" href={`./v1/session/oidc?return_to=${encodeURIComponent(back)}`}>
            Sign in with your organisation
          </a>
        </div>
      )}
      {fault && <Fault error={fault} />}
      <p className="muted">
        An operator makes keys with <code>tidewire keys create</code>. The key stays on the server: this browser keeps
        only a session.
      </p>
    </main>
  );
}
