// What went wrong: the cause, the code and the request's name, and what can be done.
import type { ReactNode } from "react";
import { sentence } from "./words";

export function Fault({
  error,
  kept,
  children,
}: {
  error: { code: string; message: string; requestId?: string | undefined };
  kept?: string;
  children?: ReactNode;
}) {
  return (
    <div className="fault" role="group" aria-label="Error">
      <p>
        {sentence(error.message)} <code>{error.code}</code>
      </p>
      {error.requestId && (
        <p className="muted">
          Request <code>{error.requestId}</code>
        </p>
      )}
      {kept && <p className="muted">{kept}</p>}
      {children && <div className="row">{children}</div>}
    </div>
  );
}
