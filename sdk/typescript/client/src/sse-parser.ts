// Reads `text/event-stream`, cut anywhere.

/** A message as large as the largest page of events, escaped. What is longer is no such stream. */
const MAX_MESSAGE_CHARS = 8 * 1024 * 1024;

/** The data of a response's messages. `heard` is called for each piece that arrives, comments too. */
export async function* messages(response: Response, heard: () => void): AsyncGenerator<string> {
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
        // What the server writes: one line of data to a message. A comment has none.
        if (block.startsWith("data: ")) yield block.slice("data: ".length);
      }
    }
  } finally {
    // Also where the consumer stops in the middle: the connection is free again.
    reader.cancel().catch(() => {});
  }
}
