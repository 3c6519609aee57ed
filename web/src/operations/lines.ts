// How lines are told apart without their colours, the same in every chart.
export const DASHES: Record<"p50" | "p95" | "p99", number[] | undefined> = { p50: undefined, p95: [2, 3], p99: [7, 4] };
