// Lines over the last hour, drawn by uPlot. They shift with each point and never tween; dashes tell them apart beside colour.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useTheme } from "../../theme";
import { clock } from "../figures";
import { MAX_POINTS } from "../fold";

export interface Line {
  name: string;
  values: readonly (number | null)[];
  /** Which of the colours of operations.css, from 1. */
  colour: number;
  dash?: number[];
}
export interface LinesData {
  end: number;
  step_ms: number;
  lines: Line[];
  unit: (value: number | null | undefined) => string;
  height: number;
  label: string;
}

const AXIS_PX = 58;
const TIMES_PX = 26;
const SPACE_PX = { x: 64, y: 34 };

export default function Lines({ end, step_ms, lines, unit, height, label }: LinesData) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const unitNow = useRef(unit);
  unitNow.current = unit;
  const hour = useRef<[number, number]>([0, 1]);
  hour.current = [(end - (MAX_POINTS - 1) * step_ms) / 1000, end / 1000];
  const theme = useTheme();
  // Where the pointer is: the legend tells the figures of that moment.
  const [at, point] = useState<number>();
  const data = useMemo<uPlot.AlignedData>(() => {
    const length = Math.max(0, ...lines.map(({ values }) => values.length));
    const times = Array.from({ length }, (_, at) => (end - (length - 1 - at) * step_ms) / 1000);
    return [times, ...lines.map(({ values }) => values.slice())];
  }, [end, step_ms, lines]);
  // A plot is made anew only where its lines are others; figures go into the one that is there.
  const kind = lines.map(({ name, colour, dash }) => `${name} ${colour} ${dash?.join() ?? ""}`).join("|");
  useLayoutEffect(() => {
    const node = box.current!;
    const colour = (name: string) => () => getComputedStyle(node).getPropertyValue(name).trim();
    const show = (u: uPlot) => point(u.cursor.idx ?? undefined);
    const axis = {
      stroke: colour("--muted"),
      grid: { stroke: colour("--border"), width: 1 },
      ticks: { show: false },
      font: `12px ${getComputedStyle(node).fontFamily}`,
    };
    plot.current = new uPlot(
      {
        width: Math.max(120, node.clientWidth),
        height,
        legend: { show: false },
        padding: [8, 20, 0, 0],
        cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
        // Always the whole hour: a young server's line begins where it began.
        scales: { x: { range: () => hour.current }, y: { range: (_, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
        axes: [
          { ...axis, size: TIMES_PX, space: SPACE_PX.x, values: (_, splits) => splits.map((at) => clock(at * 1000)) },
          {
            ...axis,
            size: AXIS_PX,
            space: SPACE_PX.y,
            values: (_, splits) => splits.map((value) => (value === 0 ? "0" : unitNow.current(value))),
          },
        ],
        series: [
          {},
          ...lines.map(({ name, colour: which, dash }) => ({
            label: name,
            stroke: colour(`--line-${which}`),
            width: 1.5,
            ...(dash ? { dash } : {}),
            // A figure between two gaps has no line to either side.
            points: { show: true, size: 4, filter: alone },
          })),
        ],
        hooks: { setCursor: [show] },
      },
      data,
      node,
    );
    const sized = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(120, node.clientWidth), height }));
    sized.observe(node);
    return () => {
      sized.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
    // eslint-disable-next-line -- `data` has an effect of its own
  }, [kind, height]);
  useEffect(() => plot.current?.setData(data), [data]);
  useEffect(() => {
    const redraw = () => plot.current?.redraw(false, true);
    redraw();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", redraw);
    return () => scheme.removeEventListener("change", redraw);
  }, [theme]);
  return (
    <>
      <ul className="legend" aria-hidden="true">
        {lines.map(({ name, colour, dash, values }) => (
          <li key={name}>
            <svg width="24" height="8" viewBox="0 0 24 8">
              <path d="M0 4h24" data-line={colour} strokeDasharray={dash?.join(" ")} />
            </svg>
            {name} <span className="number">{unit(values.at(at ?? -1))}</span>
          </li>
        ))}
        {at !== undefined && data[0][at] && <li className="muted number">{clock(data[0][at] * 1000, true)}</li>}
      </ul>
      <div ref={box} className="lines" role="img" aria-label={label} />
    </>
  );
}

function alone(u: uPlot, series: number): number[] {
  const values = u.data[series]!;
  const found: number[] = [];
  for (let at = 0; at < values.length; at += 1)
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  return found;
}
