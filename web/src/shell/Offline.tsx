// Said once the connection has been gone for three seconds, or for good.
import { useStatus } from "@tidewire/react";
import { useEffect } from "react";

const SIGNED_OUT = ["unauthorized", "key_revoked", "key_expired"];

export function Offline({ onRefused }: { onRefused: () => void }) {
  const { state, error } = useStatus();
  const refused = state === "closed" && SIGNED_OUT.includes(error?.code ?? "");
  useEffect(() => {
    if (refused) onRefused();
  }, [refused, onRefused]);
  if (state !== "offline" && state !== "closed") return null;
  return (
    <div className="offline" role="alert">
      {state === "offline"
        ? "Offline. What you send waits here, and answers go on at the server."
        : `The connection was closed${error ? `: ${error.message} (${error.code})` : ""}.`}
      {state === "closed" && (
        <button type="button" className="link" onClick={() => location.reload()}>
          Reload
        </button>
      )}
    </div>
  );
}
