// Copies a text, and says for a moment that it did.
import { useEffect, useState } from "react";

const SAID_FOR_MS = 1500;

export function CopyButton({ text, what }: { text: () => string; what: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), SAID_FOR_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  // Pages that came over plain HTTP from another machine have no clipboard.
  if (!globalThis.navigator?.clipboard) return null;
  const copy = () =>
    navigator.clipboard.writeText(text()).then(
      () => setCopied(true),
      () => setCopied(false),
    );
  return (
    <button type="button" className="quiet small" aria-label={`Copy ${what}`} onClick={copy}>
      {copied ? "Copied" : "Copy"}
    </button>
  );
}
