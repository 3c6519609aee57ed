// Where the stream was refused for good: what the server says, and a way to ask again.
import { Fault } from "../parts/Fault";
import { told } from "../server";
import { feed, useLive } from "./useLive";

export function Refused() {
  const { link, error } = useLive();
  if (link !== "refused") return null;
  return (
    <Fault error={told(error)}>
      <button type="button" className="small" onClick={feed.wake}>
        Retry
      </button>
    </Fault>
  );
}
