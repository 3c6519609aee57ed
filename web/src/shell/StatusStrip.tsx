// How the page stands with the server: state, transport, round trip, version, and who one is.
import { useStatus } from "@tidewire/react";
import { session, type Caller } from "../server";

const WORDS = {
  connecting: "Connecting",
  open: "Connected",
  waiting: "Reconnecting",
  offline: "Offline",
  closed: "Closed",
};
const WIRES = { websocket: "WebSocket", sse: "Server-sent events" };

export function StatusStrip({ who, onLeave }: { who: Caller | undefined; onLeave: () => void }) {
  const { state, transport, roundTripMs, version } = useStatus();
  const leave = () => void session.end().then(onLeave, onLeave);
  const signedIn = Boolean(who?.key ?? who?.role ?? who?.user);
  return (
    <footer className="strip" aria-label="Status">
      <span className="state" id="link" data-state={state}>
        {WORDS[state]}
      </span>
      <span className="wide">{WIRES[transport]}</span>
      <span className="number" id="trip" title="Round trip">
        {roundTripMs === undefined ? "" : `${roundTripMs < 10 ? roundTripMs.toFixed(1) : Math.round(roundTripMs)} ms`}
      </span>
      <span className="push wide">{signedIn ? (who?.user ?? who?.name) : ""}</span>
      {signedIn && (
        <button type="button" className="link small" onClick={leave}>
          Sign out
        </button>
      )}
      <span className="number">{version ? `v${version}` : ""}</span>
    </footer>
  );
}
