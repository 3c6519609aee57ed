// A batch's results, fetched and saved as a file.
import type { TaskRecord } from "@tidewire/client";
import { call } from "../server";
import type { Result } from "./csv";

const AT_ONCE = 6;

/** Fetches the texts of all; `told` hears how many are there. */
export async function results(records: readonly TaskRecord[], told: (count: number) => void): Promise<Result[]> {
  const found: Result[] = new Array(records.length);
  let next = 0;
  let done = 0;
  const worker = async () => {
    while (next < records.length) {
      const at = next++;
      const record = records[at]!;
      const text = await call<string>(`v1/tasks/${record.id}/text`);
      const usage = record.end?.usage as
        { input_tokens: number; output_tokens: number; cost_nanousd?: number } | undefined;
      found[at] = {
        title: String(record.metadata?.title ?? ""),
        state: record.state,
        text,
        error: record.end?.error?.message ?? "",
        input_tokens: usage?.input_tokens,
        output_tokens: usage?.output_tokens,
        cost_usd: usage && (usage.cost_nanousd ?? 0) / 1e9,
        task: record.id,
      };
      told((done += 1));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return found;
}

export function save(name: string, kind: string, text: string) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  // The download has begun by then, and needs the address no more.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
