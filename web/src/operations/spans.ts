// A trace's spans as rows of a chart: how deep, where they begin, how wide they are.
export interface Span {
  id: string;
  parent?: string;
  part: string;
  name: string;
  offset: number;
  start_us: number;
  end_us?: number;
  duration_us: number;
  status: string;
  message?: string;
  attributes: Record<string, unknown>;
}
export interface Trace {
  trace_id: string;
  state: string;
  now_us: number;
  spans: Span[];
}
export interface Rung {
  span: Span;
  depth: number;
  /** Shares of the whole, from 0 to 1. */
  from: number;
  wide: number;
  at_ms: number;
  took_ms: number;
}

// A span of no length is seen all the same.
const THIN = 0.004;

export function ladder({ spans, now_us }: Trace): { rows: Rung[]; total_ms: number } {
  const begin = Math.min(...spans.map(({ start_us }) => start_us));
  const end = Math.max(...spans.map(({ start_us, end_us }) => end_us ?? Math.max(now_us, start_us)), begin + 1);
  const whole = end - begin;
  const byId = new Map(spans.map((span) => [span.id, span]));
  const depth = (span: Span): number => {
    const above = span.parent === undefined ? undefined : byId.get(span.parent);
    return above && above !== span ? depth(above) + 1 : 0;
  };
  const rows = spans.map((span) => {
    const took = (span.end_us ?? Math.max(now_us, span.start_us)) - span.start_us;
    const wide = Math.max(THIN, took / whole);
    return {
      span,
      depth: depth(span),
      from: Math.min((span.start_us - begin) / whole, 1 - THIN),
      wide: Math.min(wide, 1),
      at_ms: (span.start_us - begin) / 1000,
      took_ms: took / 1000,
    };
  });
  return { rows, total_ms: whole / 1000 };
}
