// The official Anthropic client for JavaScript, unchanged but for its base URL: node messages.mjs URL (of a server with the model
// `scripted`).
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { VERSION } from "@anthropic-ai/sdk/version";
import { all, suite } from "./suite.mjs";

const base = process.argv[2].replace(/\/$/, "");
const PATIENCE_MS = 120_000;
const client = new Anthropic({ baseURL: base, apiKey: "none", maxRetries: 0, timeout: PATIENCE_MS });
const { test, end } = suite(`anthropic ${VERSION}, messages`);

const CALL = [{ index: 0, id: "toolu_1", type: "function", function: { name: "tide", arguments: '{"port":"Brest"}' } }];
const TOOLS = [{
  name: "tide", description: "The tide at a port.",
  input_schema: { type: "object", properties: { port: { type: "string" } }, required: ["port"] },
}];

/** The fields of a request that the scripted backend plays. */
const ask = (script, { content = "go", ...fields } = {}) => ({
  model: "scripted", max_tokens: 100, messages: [{ role: "user", content }], script: { delay_ms: 1, ...script }, ...fields,
});
const text = (events) => events.map(({ delta }) => delta?.text ?? "").join("");

await test("a_message_has_text_and_usage", async () => {
  const message = await client.messages.create(ask({ tokens: 4 }, { system: "Be brief.", stop_sequences: ["x"] }));
  assert.deepEqual(message.content.map((block) => block.text), ["w0 w1 w2 w3 "]);
  assert.deepEqual([message.type, message.role, message.model, message.stop_reason, message.stop_sequence],
    ["message", "assistant", "scripted", "end_turn", null]);
  assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], [3, 4]);
  assert.ok(message.id.startsWith("msg_"));
  assert.equal((await client.messages.create(ask({ tokens: 2, finish_reason: "length" }))).stop_reason, "max_tokens");
});

await test("a_stop_sequence_is_told", async () => {
  const request = (stream) => ask({ tokens: 2, stop_sequence: "END" }, { stop_sequences: ["END"], stream });
  const { stop_reason, stop_sequence } = await client.messages.create(request(false));
  assert.deepEqual([stop_reason, stop_sequence], ["stop_sequence", "END"]);
  const events = await all(await client.messages.create(request(true)));
  assert.deepEqual(events.find(({ type }) => type === "message_delta").delta, { stop_reason: "stop_sequence", stop_sequence: "END" });
});

await test("a_streamed_message_has_anthropics_events_in_their_order", async () => {
  const events = await all(await client.messages.create(ask({ tokens: 3 }, { stream: true })));
  assert.deepEqual(events.map(({ type }) => type).filter((type) => type !== "ping"), [
    "message_start", "content_block_start", ...Array(3).fill("content_block_delta"), "content_block_stop", "message_delta",
    "message_stop"]);
  assert.equal(text(events), "w0 w1 w2 ");
});

await test("the_stream_helper_gathers_the_same_message", async () => {
  const stream = client.messages.stream(ask({ tokens: 3, reasoning: "hm" }));
  let said = "";
  stream.on("text", (delta) => { said += delta; });
  const final = await stream.finalMessage();
  assert.deepEqual(final.content.map(({ type }) => type), ["thinking", "text"]);
  assert.deepEqual([final.content[0].thinking, final.content[1].text, said], ["hm", "w0 w1 w2 ", "w0 w1 w2 "]);
  assert.deepEqual([final.stop_reason, final.usage.output_tokens], ["end_turn", 3]);
});

await test("a_tool_is_called_and_its_result_is_answered_to", async () => {
  const script = { text: "I look. ", tokens: 2, tool_calls: CALL, finish_reason: "tool_calls" };
  const first = await client.messages.create(ask(script, { tools: TOOLS, tool_choice: { type: "any" } }));
  const [said, call] = first.content;
  assert.deepEqual([call.type, call.name, call.input, first.stop_reason], ["tool_use", "tide", { port: "Brest" }, "tool_use"]);
  const streamed = await client.messages.stream(ask(script, { tools: TOOLS })).finalMessage();
  assert.deepEqual([streamed.content[1].input, streamed.stop_reason], [{ port: "Brest" }, "tool_use"]);
  const messages = [
    { role: "user", content: "when?" }, { role: "assistant", content: [said, call] },
    { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "high at noon" }, { type: "text", text: "so?" }] },
  ];
  const second = await client.messages.create(ask({ text: "At noon." }, { messages, tools: TOOLS }));
  // The scripted backend counts words: when? I look. high at noon so?
  assert.deepEqual([second.content[0].text, second.usage.input_tokens], ["At noon.", 7]);
});

await test("images_documents_and_thoughts_are_taken", async () => {
  const content = [
    { type: "text", text: "what is it?", cache_control: { type: "ephemeral" } },
    { type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } },
    { type: "document", source: { type: "text", media_type: "text/plain", data: "a text" } },
  ];
  const thinking = { type: "enabled", budget_tokens: 2048 };
  const message = await client.messages.create(ask({ tokens: 1, reasoning: "hm" }, { content, thinking }));
  assert.deepEqual(message.content.map(({ type }) => type), ["thinking", "text"]);
});

await test("tokens_are_counted_without_an_answer", async () => {
  const count = async (content) => (await client.messages.countTokens({ model: "scripted", messages: [{ role: "user", content }] })).input_tokens;
  const [few, many] = [await count("hi"), await count("hi there ".repeat(500))];
  assert.ok(few > 0 && few < 50 && many > 20 * few, `${few} ${many}`);
});

await test("errors_are_the_clients_own", async () => {
  const unknown = await client.messages.create(ask({}, { model: "no-such-model" })).catch((error) => error);
  assert.ok(unknown instanceof Anthropic.NotFoundError, String(unknown));
  assert.deepEqual([unknown.error.error.type, unknown.error.error.code], ["not_found_error", "unknown_model"]);
  const critic = await client.messages.create(ask({}, { messages: [{ role: "critic", content: "a" }] })).catch((error) => error);
  assert.ok(critic instanceof Anthropic.BadRequestError && critic.message.includes("critic"), String(critic));
  // A fault of the request: one of the upstream would open its breaker for the tests after this one.
  for (const stream of [false, true]) {
    const error = await client.messages.create(ask({ fail_at: 0, fault: "invalid" }, { stream })).catch((error) => error);
    assert.ok(error instanceof Anthropic.BadRequestError && error.error.error.code === "invalid_input", String(error));
  }
});

await test("an_answer_that_breaks_off_never_looks_whole", async () => {
  const script = { tokens: 8, fail_at: 4, fail_attempts: 1, fault: "broken", continues: false, key: "javascript-messages" };
  const got = [];
  const read = async () => { for await (const event of await client.messages.create(ask(script, { stream: true }))) got.push(event); };
  const error = await read().catch((error) => error);
  assert.ok(error instanceof Anthropic.APIError && error.error?.error?.code === "rewound", String(error));
  assert.ok(text(got).startsWith("w0 ") && got.every(({ type }) => type !== "message_stop"));
});

await test("closing_a_stream_early_stops_the_task", async () => {
  const { data, response } = await client.messages.create(ask({ tokens: 1500, delay_ms: 20 }, { stream: true })).withResponse();
  const task = response.headers.get("tidewire-task");
  for await (const { type } of data) if (type === "content_block_delta") break;
  const answer = await fetch(`${base}/v1/tasks/${task}/text?wait_ms=60000`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  assert.equal(answer.headers.get("tidewire-state"), "stopped");
});

end();
