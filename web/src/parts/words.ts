// Figures as people read them.
export const time = (ms: number) =>
  ms < 1000 ? `${Math.round(ms)} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;

export const sentence = (text: string) => (text ? text[0]!.toUpperCase() + text.slice(1) : text);

export const number = (value: number) => value.toLocaleString("en-US");

export const dollars = (value: number) =>
  `$${value === 0 ? "0" : value < 0.01 ? value.toPrecision(2) : value.toFixed(2)}`;

/** "5 min ago", in the largest whole unit. */
export function ago(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ago` : `${Math.floor(hours / 24)} d ago`;
}

/** Where a task stands, in words. */
export function standing({
  status,
  place,
  waitMs,
}: {
  status: string;
  place?: number | undefined;
  waitMs?: number | undefined;
}): string {
  if (status !== "queued" || place === undefined) return sentence(status);
  const about = waitMs !== undefined && waitMs >= 1000 ? `, about ${time(waitMs)}` : "";
  return (place === 0 ? "Next in line" : `${number(place)} ahead`) + about;
}
