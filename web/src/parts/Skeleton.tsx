// The shape of what is to come, after 150 ms: sooner it would only flicker.
import { useEffect, useState } from "react";

const AFTER_MS = 150;
const WIDTHS = ["92%", "78%", "85%", "40%"];

export function Skeleton({ lines = 3 }: { lines?: number }) {
  const [due, setDue] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setDue(true), AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div className="skeleton" aria-hidden="true">
      {due && WIDTHS.slice(-lines).map((width) => <span key={width} className="bone" style={{ width }} />)}
    </div>
  );
}
