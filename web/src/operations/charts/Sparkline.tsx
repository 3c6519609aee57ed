// The hour of one figure in the size of a word: its shape, not its numbers, which stand beside it.
import { memo } from "react";
import { MAX_POINTS } from "../fold";

export interface SparklineData {
  lines: { values: readonly (number | null)[]; colour: number; dash?: number[] }[];
}

const WIDTH = 120;
const HEIGHT = 28;

export default memo(function Sparkline({ lines }: SparklineData) {
  const drawn = lines.map((line) => ({ ...line, values: thinned(line.values) }));
  const top = Math.max(1e-9, ...drawn.flatMap(({ values }) => values.map((value) => value ?? 0)));
  return (
    <svg className="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {drawn.map(({ values, colour, dash }) => (
        <path key={colour} d={path(values, top)} data-line={colour} strokeDasharray={dash?.join(" ")} />
      ))}
    </svg>
  );
});

// So small a line shows no more points than this; a dashed one with more is a cloud.
const MOST = 60;

/** Means of neighbours; `null` only where all of them are. */
function thinned(values: readonly (number | null)[]): (number | null)[] {
  const together = Math.ceil(MAX_POINTS / MOST);
  const found: (number | null)[] = [];
  // From the newest: a point that has come is in its place at once.
  for (let to = values.length; to > 0; to -= together) {
    const some = values.slice(Math.max(0, to - together), to).filter((value) => value !== null);
    found.unshift(some.length ? some.reduce((sum, value) => sum + value, 0) / some.length : null);
  }
  // Before a young server's first point there is nothing.
  while (found.length < MOST) found.unshift(null);
  return found;
}

function path(values: readonly (number | null)[], top: number): string {
  const step = WIDTH / Math.max(1, values.length - 1);
  let drawn = "";
  let pen = "M";
  values.forEach((value, at) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const y = HEIGHT - 2 - (value / top) * (HEIGHT - 4);
    drawn += `${pen}${(at * step).toFixed(1)} ${y.toFixed(1)}`;
    // A figure between two gaps is a dot.
    if (pen === "M" && (values[at + 1] ?? null) === null) drawn += "h.1";
    pen = "L";
  });
  return drawn;
}
