// Reads `text/event-stream`, cut anywhere.

export interface SseMessage {
  event: string;
  data: string;
}

/** A message as large as the largest page of events, escaped. What is longer is no such stream. */
const MAX_MESSAGE_CHARS = 8 * 1024 * 1024;

/** The messages of a response. `heard` is called for each piece that arrives, comments too. */
export async function* messages(response: Response, heard: () => void): AsyncGenerator<SseMessage> {
  const decoder = new TextDecoder();
  const reader = response.body!.getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop()!;
      if (rest.length > MAX_MESSAGE_CHARS) throw new Error("a server-sent event has no end");
      for (const block of blocks) {
        const message = parse(block);
        if (message) yield message;
      }
    }
  } finally {
    // Also where the consumer stops in the middle: the connection is free again.
    reader.cancel().catch(() => {});
  }
}

/** What the server writes: lines that end with a line feed alone, one `data:` a message. */
function parse(block: string): SseMessage | undefined {
  const field = (name: string) => new RegExp(`^${name}: ?(.*)`, "m").exec(block)?.[1];
  const data = field("data");
  return data ? { event: field("event") ?? "", data } : undefined;
}
