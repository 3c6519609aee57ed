// What operators did, the newest first.
import { useEffect, useState } from "react";
import { Fault } from "../parts/Fault";
import { Skeleton } from "../parts/Skeleton";
import { number } from "../parts/words";
import { call, told } from "../server";
import { newest, type Entry, type Page } from "./auditLog";
import { moment } from "./figures";

const STEP = 50;

export function Audit({ version }: { version: number }) {
  const [found, set] = useState<{ entries?: Entry[]; error?: unknown }>({});
  const [most, setMost] = useState(STEP);
  const [attempt, again] = useState(0);
  useEffect(() => {
    let left = false;
    newest((query) => call<Page>(`v1/admin/audit?${query}`)).then(
      (entries) => left || set({ entries }),
      (error: unknown) => left || set((before) => ({ ...before, error })),
    );
    return () => {
      left = true;
    };
  }, [version, attempt]);
  const { entries, error } = found;
  return (
    <section className="panel" aria-labelledby="audit">
      <h2 id="audit">
        Audit log <small>what operators did, newest first</small>
      </h2>
      {error !== undefined && (
        <Fault error={told(error)}>
          <button type="button" className="small" onClick={() => again((count) => count + 1)}>
            Retry
          </button>
        </Fault>
      )}
      {!entries && error === undefined && <Skeleton />}
      {entries?.length === 0 && (
        <p className="muted">Nobody has done anything that is written down: a key that is made appears here.</p>
      )}
      {entries && entries.length > 0 && (
        <div className="scroll audit" tabIndex={0} role="region" aria-label="Audit log">
          <table>
            <thead>
              <tr>
                <th scope="col">When</th>
                <th scope="col">Who</th>
                <th scope="col">Did</th>
                <th scope="col">What came of it</th>
                <th scope="col">From</th>
              </tr>
            </thead>
            <tbody>
              {entries.slice(0, most).map((entry) => (
                <tr key={entry.offset} data-bad={entry.status >= 400}>
                  <td className="number nowrap">{moment(entry.at)}</td>
                  <td>{entry.who}</td>
                  <td className="id">{entry.action}</td>
                  <td className="came">
                    {entry.detail ?? ""} <span className="muted number">{entry.status}</span>
                  </td>
                  <td className="muted number nowrap">{entry.from ?? ""}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {entries && entries.length > most && (
        <button type="button" className="small" onClick={() => setMost((count) => count + STEP)}>
          Show {number(Math.min(STEP, entries.length - most))} older
        </button>
      )}
    </section>
  );
}
