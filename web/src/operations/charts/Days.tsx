// A bar for each day, made of parts. The parts stand in the order of the legend, in colours whose lightness differs.
import { number } from "../../parts/words";
import { usd } from "../figures";
import type { DayBars } from "../usage";

const CELL = 20;
const GAP = 4;
// Beside the bars there is room for so many names of days.
const LABELS = 6;

export default function Days({ unit, days, parts, height }: DayBars & { height: number }) {
  const told = unit === "usd" ? usd : number;
  const sums = days.map((_, at) => parts.reduce((sum, { values }) => sum + values[at]!, 0));
  const top = Math.max(...sums, 1e-12);
  const most = sums.indexOf(Math.max(...sums));
  const label = `${unit === "usd" ? "Cost" : "Tasks"} by day: ${told(sums.at(-1)!)} today, at most ${told(sums[most]!)} on ${name(days[most]!)}.`;
  const every = Math.ceil(days.length / LABELS);
  return (
    <>
      <ul className="legend" aria-hidden="true">
        {parts.map((part, at) => (
          <li key={part.name}>
            <svg width="12" height="12">
              <rect width="12" height="12" rx="2" data-fill={at + 1} />
            </svg>
            {part.name}
          </li>
        ))}
      </ul>
      <div className="days">
        <p className="top muted number" aria-hidden="true">
          {told(top)}
        </p>
        <svg
          role="img"
          aria-label={label}
          viewBox={`0 0 ${days.length * CELL} 100`}
          preserveAspectRatio="none"
          style={{ height }}
        >
          <path
            d={`M0 .5H${days.length * CELL}M0 50H${days.length * CELL}M0 99.5H${days.length * CELL}`}
            className="grid"
          />
          {days.map((day, at) => {
            let y = 100;
            return (
              <g key={day}>
                <title>{`${name(day)}: ${parts
                  .filter(({ values }) => values[at]! > 0)
                  .map((part) => `${part.name} ${told(part.values[at]!)}`)
                  .join(", ")}`}</title>
                <rect x={at * CELL} width={CELL} height="100" fill="transparent" />
                {parts.map((part, index) => {
                  const tall = (part.values[at]! / top) * 100;
                  y -= tall;
                  return tall > 0 ? (
                    <rect
                      key={part.name}
                      x={at * CELL + GAP / 2}
                      y={y}
                      width={CELL - GAP}
                      height={tall}
                      data-fill={index + 1}
                    />
                  ) : null;
                })}
              </g>
            );
          })}
        </svg>
        <p className="axis muted number" aria-hidden="true">
          {days
            .filter((_, at) => (days.length - 1 - at) % every === 0)
            .map((day) => (
              <span key={day}>{name(day)}</span>
            ))}
        </p>
      </div>
    </>
  );
}

const name = (day: string) =>
  new Date(day).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
