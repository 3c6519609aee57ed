// The newest of the audit log. The server tells it oldest first, so its end is looked for by doubling steps.
export interface Entry {
  offset: number;
  at: number;
  who: string;
  key?: string;
  from?: string;
  tenant?: string;
  action: string;
  detail?: string;
  status: number;
}
export interface Page {
  entries: Entry[];
  next?: number;
}

/** Entries of one page, as many as the server gives. */
const PAGE = 1_000;
// The log holds a million entries: ten steps to pass its end, ten back.
const MAX_STEPS = 40;

export async function newest(ask: (query: string) => Promise<Page>): Promise<Entry[]> {
  const first = await ask(`limit=${PAGE}`);
  if (first.next === undefined) return first.entries.toReversed();
  // There is more after `low`, and nothing after `high`.
  let low = first.next;
  let high = Infinity;
  let before = first;
  for (let step = 0; step < MAX_STEPS && high - low > PAGE; step += 1) {
    const after: number = high === Infinity ? low * 2 + PAGE : Math.floor((low + high) / 2);
    const found = await ask(`after=${after}&limit=${PAGE}`);
    if (found.entries.length === 0) high = after;
    else if (found.next === undefined) return found.entries.toReversed();
    else {
      low = found.next;
      before = found;
    }
  }
  const last = await ask(`after=${low}&limit=${PAGE}`);
  return [...before.entries, ...last.entries].toReversed();
}
