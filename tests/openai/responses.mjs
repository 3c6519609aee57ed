// The official OpenAI client for JavaScript uses Responses: node responses.mjs URL (of a server with the model `scripted`).
import assert from "node:assert/strict";
import OpenAI from "openai";
import { VERSION } from "openai/version";
import { all, suite } from "./suite.mjs";

const base = process.argv[2].replace(/\/$/, "");
const PATIENCE_MS = 120_000;
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0, timeout: PATIENCE_MS });
const { test, end } = suite(`openai ${VERSION}, responses`);

const CALL = [{ index: 0, id: "call_1", type: "function", function: { name: "tide", arguments: '{"port":"Brest"}' } }];
const TOOLS = [{
  type: "function", name: "tide", description: "The tide at a port.", strict: true,
  parameters: { type: "object", properties: { port: { type: "string" } }, required: ["port"], additionalProperties: false },
}];

/** The fields of a request that the scripted backend plays. */
const ask = (script, { input = "go", ...fields } = {}) => ({
  model: "scripted", input, script: { delay_ms: 1, ...script }, ...fields,
});
const text = (events) => events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta).join("");
const numbers = (events) => events.map((event) => event.sequence_number);
const upTo = (count) => Array.from({ length: count }, (_, number) => number);
/** The events of a response that is there, after this number. */
const after = (id, number) => client.responses.retrieve(id, { stream: true, starting_after: number });

await test("a_response_has_text_usage_and_what_was_asked", async () => {
  const response = await client.responses.create(
    ask({ tokens: 5 }, { instructions: "Be brief.", metadata: { a: "b" }, temperature: 0.5, max_output_tokens: 100 }));
  assert.equal(response.output_text, "w0 w1 w2 w3 w4 ");
  assert.deepEqual([response.status, response.instructions, response.metadata, response.temperature],
    ["completed", "Be brief.", { a: "b" }, 0.5]);
  const { input_tokens, output_tokens, total_tokens } = response.usage;
  assert.ok(input_tokens > 0 && output_tokens === 5 && total_tokens === input_tokens + 5);
  assert.deepEqual(JSON.parse(JSON.stringify(await client.responses.retrieve(response.id))), JSON.parse(JSON.stringify(response)));
});

await test("a_streamed_response_has_openais_events_in_their_order", async () => {
  const events = await all(await client.responses.create(ask({ tokens: 4 }, { stream: true })));
  assert.deepEqual(events.map(({ type }) => type), [
    "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ...Array(4).fill("response.output_text.delta"), "response.output_text.done", "response.content_part.done",
    "response.output_item.done", "response.completed"]);
  assert.deepEqual(numbers(events), upTo(events.length));
  assert.equal(events.at(-1).response.output[0].content[0].text, text(events));
});

await test("the_stream_helper_gathers_the_same_text", async () => {
  const stream = client.responses.stream(ask({ tokens: 4, reasoning: "hm" }));
  let said = "";
  stream.on("response.output_text.delta", ({ delta }) => { said += delta; });
  const final = await stream.finalResponse();
  assert.deepEqual([final.output_text, said, final.output[0].content[0].text], ["w0 w1 w2 w3 ", "w0 w1 w2 w3 ", "hm"]);
});

await test("a_tool_is_called_and_its_result_is_answered_to", async () => {
  const script = { tokens: 0, tool_calls: CALL, finish_reason: "tool_calls" };
  const first = await client.responses.create(ask(script, { tools: TOOLS, tool_choice: "required" }));
  const [call] = first.output;
  assert.deepEqual([call.type, call.name, JSON.parse(call.arguments)], ["function_call", "tide", { port: "Brest" }]);
  const input = [{ type: "function_call_output", call_id: call.call_id, output: "high at noon" }];
  const second = await client.responses.create(ask({ text: "At noon." }, { input, previous_response_id: first.id }));
  assert.deepEqual([second.output_text, second.previous_response_id], ["At noon.", first.id]);
  const events = await all(await client.responses.create(ask(script, { tools: TOOLS, stream: true })));
  const done = events.find(({ type }) => type === "response.function_call_arguments.done");
  assert.equal(done.arguments, call.arguments);
  assert.ok(events.some(({ type }) => type === "response.function_call_arguments.delta"));
});

await test("a_conversation_goes_on_over_several_responses", async () => {
  const first = await client.responses.create(ask({ text: "one" }, { input: "1" }));
  const second = await client.responses.create(ask({ text: "two" }, { input: "2", previous_response_id: first.id }));
  // The scripted backend counts words: 1 one 2.
  assert.equal(second.usage.input_tokens, 3);
  const items = await all(client.responses.inputItems.list(second.id));
  assert.deepEqual(items.map(({ content }) => content[0].text), ["2"]);
});

await test("a_background_response_is_cut_and_resumed_at_every_event", async () => {
  const script = { tokens: 12, reasoning: "hm", tool_calls: CALL, finish_reason: "tool_calls" };
  const first = await client.responses.create(ask(script, { background: true }));
  assert.ok(["queued", "in_progress"].includes(first.status));
  assert.deepEqual(first.output, []);
  const uncut = await all(await client.responses.retrieve(first.id, { stream: true }));
  assert.equal(uncut.at(-1).type, "response.completed");
  assert.deepEqual(numbers(uncut), upTo(uncut.length));
  for (const [place, { sequence_number }] of uncut.entries()) {
    assert.deepEqual(await all(await after(first.id, sequence_number)), uncut.slice(place + 1), `after ${sequence_number}`);
  }
  // The same of one that is being written: a connection for each event.
  const second = await client.responses.create(ask({ ...script, delay_ms: 15 }, { background: true }));
  const live = [];
  while (live.at(-1)?.type !== "response.completed") {
    const stream = await (live.length
      ? after(second.id, live.at(-1).sequence_number)
      : client.responses.retrieve(second.id, { stream: true }));
    for await (const event of stream) {
      live.push(event);
      // Leaving the loop closes the connection.
      break;
    }
  }
  assert.deepEqual(live, await all(await client.responses.retrieve(second.id, { stream: true })));
});

await test("a_streamed_background_response_outlives_its_connection", async () => {
  let first;
  for await (const event of await client.responses.create(ask({ tokens: 20, delay_ms: 10 }, { background: true, stream: true }))) {
    first = event;
    break;
  }
  const rest = await all(await after(first.response.id, first.sequence_number));
  assert.equal(rest.at(-1).type, "response.completed");
  assert.ok(text(rest).startsWith("w0 w1 "));
});

await test("a_background_response_is_cancelled_and_deleted", async () => {
  const { id } = await client.responses.create(ask({ tokens: 5000, delay_ms: 20 }, { background: true }));
  assert.equal((await client.responses.cancel(id)).status, "cancelled");
  const last = (await all(await client.responses.retrieve(id, { stream: true }))).at(-1);
  assert.deepEqual([last.type, last.response.status], ["response.incomplete", "cancelled"]);
  await client.responses.delete(id);
  await assert.rejects(client.responses.retrieve(id), (error) => error instanceof OpenAI.NotFoundError && error.code === "unknown_response");
});

await test("closing_a_stream_early_stops_the_task", async () => {
  const { data, response } = await client.responses.create(ask({ tokens: 1500, delay_ms: 20 }, { stream: true })).withResponse();
  const task = response.headers.get("tidewire-task");
  for await (const { type } of data) if (type === "response.output_text.delta") break;
  const answer = await fetch(`${base}/v1/tasks/${task}/text?wait_ms=60000`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  assert.equal(answer.headers.get("tidewire-state"), "stopped");
});

await test("an_answer_that_breaks_off_never_looks_whole", async () => {
  const script = { tokens: 8, fail_at: 4, fail_attempts: 1, fault: "broken", continues: false, key: "javascript-responses" };
  const got = [];
  const read = async () => { for await (const event of await client.responses.create(ask(script, { stream: true }))) got.push(event); };
  const error = await read().catch((error) => error);
  const code = error?.code ?? got.at(-1).code ?? got.at(-1).response?.error?.code;
  assert.equal(code, "rewound", `${error} ${JSON.stringify(got.at(-1))}`);
  assert.ok(text(got).startsWith("w0 ") && got.every(({ type }) => type !== "response.completed"));
});

await test("errors_are_the_clients_own", async () => {
  for (const fields of [{ tools: [{ type: "web_search" }] }, { truncation: "auto" }, { background: true, store: false }]) {
    const error = await client.responses.create(ask({ tokens: 1 }, fields)).catch((error) => error);
    assert.ok(error instanceof OpenAI.BadRequestError && error.code === "invalid_request", `${JSON.stringify(fields)}: ${error}`);
  }
  const unknown = await client.responses.create(ask({}, { model: "no-such-model" })).catch((error) => error);
  assert.ok(unknown instanceof OpenAI.NotFoundError && unknown.code === "unknown_model", String(unknown));
  // A fault of the request: one of the upstream would open its breaker for the tests after this one.
  for (const stream of [false, true]) {
    const error = await client.responses.create(ask({ fail_at: 0, fault: "invalid" }, { stream })).catch((error) => error);
    assert.ok(error instanceof OpenAI.BadRequestError && error.code === "invalid_input", String(error));
  }
});

end();
