// A deployment's last hour, a cell for each minute: what went well from below, what failed from above, and a bar across
// the top while its breaker was open. Told apart by place, not by colour alone.
import type { Minute } from "../model";

export interface StripData {
  minutes: readonly Minute[];
  now: number;
  height: number;
}

const MINUTE_MS = 60_000;
const MINUTES = 60;
const CELL = 10;
const GAP = 2;
const TALL = 28;

export default function Strip({ minutes, now, height }: StripData) {
  const newest = Math.floor(Math.max(now, minutes.at(-1)?.at ?? 0) / MINUTE_MS) * MINUTE_MS;
  const byMinute = new Map(minutes.map((minute) => [Math.floor(minute.at / MINUTE_MS) * MINUTE_MS, minute]));
  const cells = Array.from({ length: MINUTES }, (_, at) => byMinute.get(newest - (MINUTES - 1 - at) * MINUTE_MS));
  const failing = minutes.filter(({ failed }) => failed > 0).length;
  const open = minutes.filter(({ breaker }) => breaker !== "closed").length;
  const label = `${minutes.length} of 60 minutes had requests, ${failing} of them failures${open ? `; the breaker was not closed in ${open}` : ""}.`;
  return (
    <svg
      className="strip-hour"
      role="img"
      aria-label={label}
      viewBox={`0 0 ${MINUTES * CELL - GAP} ${TALL}`}
      preserveAspectRatio="none"
      style={{ height }}
    >
      {cells.map((minute, at) => {
        const x = at * CELL;
        const width = CELL - GAP;
        if (!minute) return <rect key={at} data-part="none" x={x} y={TALL - 2} width={width} height={2} />;
        const share = minute.failed / Math.max(1, minute.ok + minute.failed);
        // One failure of a thousand is seen too.
        const failed = share > 0 ? Math.max(4, share * (TALL - 4)) : 0;
        const ok = TALL - 4 - failed;
        return (
          <g key={at}>
            {minute.breaker !== "closed" && <rect data-part={minute.breaker} x={x} y={0} width={CELL} height={3} />}
            {failed > 0 && <rect data-part="failed" x={x} y={4} width={width} height={failed} />}
            {ok > 0 && share < 1 && (
              <rect
                data-part="ok"
                x={x}
                y={4 + failed + (failed ? 1 : 0)}
                width={width}
                height={Math.max(1, ok - (failed ? 1 : 0))}
              />
            )}
          </g>
        );
      })}
    </svg>
  );
}
