// A model server that says how sure it is: OpenAI's chat completions with log-probabilities, one token a chunk.
import { createServer } from "node:http";

/** What it says: words in ⟨⟩ have a small chance. */
const ANSWER = "# Why the sea is ⟨salty⟩\n\nRivers carry **dissolved ⟨salts⟩** from the ⟨rocks⟩ to the sea, where the water leaves and the salt stays. Of a litre, ⟨35⟩ grams are salt; see [the ocean](https://example.org/ocean).\n\n- The Baltic has ⟨eight⟩ grams.\n- The `Dead Sea` has ⟨340⟩.\n";

const TOKENS = ANSWER.split(/(⟨[^⟩]*⟩)/).flatMap((part) => {
  const doubtful = part.startsWith("⟨");
  const pieces = doubtful ? [part.slice(1, -1)] : part.match(/\s?\S+|\s+/g) ?? [];
  return pieces.map((token) => ({ token, logprob: Math.log(doubtful ? 0.2 : 0.97), bytes: [...Buffer.from(token)],
    top_logprobs: [{ token, logprob: Math.log(doubtful ? 0.2 : 0.97) }, { token: "other", logprob: Math.log(doubtful ? 0.15 : 0.01) }] }));
});

export async function doubtful() {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    if (request.method === "GET") return void response.end(JSON.stringify({ data: [{ id: "doubtful", object: "model" }] }));
    const { logprobs } = JSON.parse(body);
    response.writeHead(200, { "content-type": "text/event-stream" });
    const say = (choice, more = {}) => response.write(`data: ${JSON.stringify({ id: "chat-1", object: "chat.completion.chunk", created: 0, model: "doubtful", choices: choice ? [{ index: 0, finish_reason: null, ...choice }] : [], ...more })}\n\n`);
    for (const one of TOKENS) say({ delta: { content: one.token }, logprobs: logprobs ? { content: [one] } : null });
    say({ delta: {}, finish_reason: "stop" });
    say(undefined, { usage: { prompt_tokens: 10, completion_tokens: TOKENS.length, total_tokens: 10 + TOKENS.length } });
    response.end("data: [DONE]\n\n");
  });
  await new Promise((resolve) => { server.listen(0, "127.0.0.1", resolve); });
  return { url: `http://127.0.0.1:${server.address().port}/v1`, end: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }) };
}
