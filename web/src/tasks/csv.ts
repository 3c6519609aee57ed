// Results as a spreadsheet reads them.
export interface Result {
  title: string;
  state: string;
  text: string;
  error: string;
  input_tokens: number | undefined;
  output_tokens: number | undefined;
  cost_usd: number | undefined;
  task: string;
}

const COLUMNS = ["title", "state", "text", "error", "input_tokens", "output_tokens", "cost_usd", "task"] as const;

export function csv(rows: readonly Result[]): string {
  return (
    [COLUMNS.join(","), ...rows.map((row) => COLUMNS.map((name) => cell(row[name])).join(","))].join("\r\n") + "\r\n"
  );
}

function cell(value: string | number | undefined): string {
  // What begins so would be a formula, and run in the spreadsheet of whoever opens the file.
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
