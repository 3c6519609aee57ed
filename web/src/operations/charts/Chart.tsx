// The frame of every chart: nothing of it is loaded before it is looked at, a shape while it comes, words where there is
// nothing to draw, a fault that stays in the frame, and a table of the same figures.
import { Component, useEffect, useRef, useState, type ComponentType, type ReactNode, type RefObject } from "react";
import { told } from "../../server";

type Load<P> = () => Promise<{ default: ComponentType<P> }>;
type Figures = { head: string[]; rows: (string | number)[][] };

interface Props<P> {
  title: string;
  load: Load<P>;
  /** What the chart draws; nothing while it is not known. */
  data: P | undefined;
  /** What would fill it, where there is nothing to draw. */
  empty?: ReactNode;
  table: () => Figures;
  height: number;
  /** Beside the title. */
  aside?: ReactNode;
}

export function Chart<P extends object>({ title, load, data, empty, table, height, aside }: Props<P>) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useSeen(box);
  return (
    <figure className="chart">
      <figcaption className="row">
        <h3>{title}</h3>
        {aside}
      </figcaption>
      <div ref={box} className="plot" style={{ minHeight: height }}>
        {empty ? (
          <p className="note muted">{empty}</p>
        ) : seen && data ? (
          <Loaded load={load} data={data} shape={<Shape height={height} />} />
        ) : (
          <Shape height={height} />
        )}
      </div>
      {data && !empty && <Table title={title} figures={table} />}
    </figure>
  );
}

/** A chart's module, once it is there; what it throws stays here. */
export function Loaded<P extends object>({ load, data, shape }: { load: Load<P>; data: P; shape: ReactNode }) {
  const [found, set] = useState<{ Drawn?: ComponentType<P>; error?: unknown }>({});
  const [attempt, again] = useState(0);
  useEffect(() => {
    let left = false;
    set({});
    load().then(
      ({ default: Drawn }) => left || set({ Drawn }),
      (error: unknown) => left || set({ error }),
    );
    return () => {
      left = true;
    };
  }, [load, attempt]);
  const retry = () => again((count) => count + 1);
  if (found.error) return <Broken error={found.error} onRetry={retry} />;
  const { Drawn } = found;
  return Drawn ? (
    <Boundary key={attempt} onRetry={retry}>
      <Drawn {...data} />
    </Boundary>
  ) : (
    shape
  );
}

class Boundary extends Component<{ children: ReactNode; onRetry: () => void }, { error?: unknown }> {
  override state: { error?: unknown } = {};
  static getDerivedStateFromError = (error: unknown) => ({ error });
  override render() {
    return this.state.error ? <Broken error={this.state.error} onRetry={this.props.onRetry} /> : this.props.children;
  }
}

const Broken = ({ error, onRetry }: { error: unknown; onRetry: () => void }) => (
  <div className="fault" role="group" aria-label="Error">
    <p>This chart can't be drawn. Its figures are in the table.</p>
    <p className="muted">{told(error).message}</p>
    <div className="row">
      <button type="button" className="small" onClick={onRetry}>
        Retry
      </button>
    </div>
  </div>
);

function Table({ title, figures }: { title: string; figures: () => Figures }) {
  const [open, setOpen] = useState(false);
  // Hundreds of rows that nobody looks at would be made anew with each point.
  const shown = open ? figures() : undefined;
  return (
    <details className="figures" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        Table<span className="unseen"> of {title}</span>
      </summary>
      {shown && (
        <div className="scroll" tabIndex={0} role="region" aria-label={`Table of ${title}`}>
          <table>
            <thead>
              <tr>
                {shown.head.map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {shown.rows.map(([first, ...rest], at) => (
                <tr key={at}>
                  <th scope="row">{first}</th>
                  {rest.map((cell, column) => (
                    <td key={column}>{cell}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}

/** True from the moment on that it is on the screen, or nearly. */
export function useSeen(box: RefObject<Element | null>): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (seen) return;
    const watch = new IntersectionObserver(([entry]) => entry?.isIntersecting && setSeen(true), { rootMargin: "64px" });
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, [seen, box]);
  return seen;
}

const SHAPE_AFTER_MS = 150;
const BARS = [40, 62, 55, 78, 64, 88, 70, 58, 82, 66, 74, 50];

/** A chart's outline, after 150 ms: sooner it would only flicker. */
export function Shape({ height }: { height: number }) {
  const [due, setDue] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setDue(true), SHAPE_AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div className="shape" style={{ height }} aria-hidden="true">
      {due && BARS.map((share, at) => <span key={at} className="bone" style={{ height: `${share}%` }} />)}
    </div>
  );
}
