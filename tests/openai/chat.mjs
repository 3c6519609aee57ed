// The official OpenAI client for JavaScript talks to a server: node chat.mjs URL [MODEL].
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { VERSION } from "openai/version";
import { all, suite } from "./suite.mjs";

const base = process.argv[2].replace(/\/$/, "");
// The longest wait for a whole answer: the built-in model on a busy machine of two cores.
const PATIENCE_MS = 120_000;

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0, timeout: PATIENCE_MS });
const model = process.argv[3] ?? (await client.models.list()).data[0].id;
// What the scripted backend plays; a real model gets no such field, and writes what it writes.
const scripted = model.includes("scripted");
// The scripted backend embeds too; beside the built-in model stands one that does nothing else.
const embeds = scripted ? model : "wordllama-l2-supercat-256";
const STORY = [
  { role: "system", content: "You answer in several languages." },
  { role: "user", content: "Write a long story about the sea with words in French, Chinese and emoji: é 漢 🙂" },
];
const { test, end } = suite(`openai ${VERSION}`);

/** A request for an answer of so many tokens; a real model says the likeliest words over and over, as many as were asked for. */
const ask = (tokens, { delay_ms = 2, ...fields } = {}) => ({
  model, messages: STORY, max_tokens: tokens, ...(scripted ? { script: { tokens, delay_ms } } : { temperature: 0, dry_multiplier: 0 }), ...fields,
});

const get = (path) => fetch(`${base}${path}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
/** The text that the task's log amounts to. */
const logged = async (task) => (await get(`/v1/tasks/${task}/text?wait_ms=30000`)).text();

/** A streamed answer: the task's id, and its chunks. */
async function streamed(body) {
  const { data, response } = await client.chat.completions.create({ ...body, stream: true }).withResponse();
  return { task: response.headers.get("tidewire-task"), stream: data };
}

await test("models_are_listed", async () => {
  const names = [];
  for await (const { id } of client.models.list()) names.push(id);
  assert.ok(names.includes(model));
});

await test("a_plain_answer_has_text_and_usage", async () => {
  const { data, response } = await client.chat.completions.create(ask(20)).withResponse();
  const [{ message, finish_reason }] = data.choices;
  assert.equal(message.role, "assistant");
  assert.ok(message.content.length > 0);
  assert.ok(["stop", "length"].includes(finish_reason));
  const { prompt_tokens, completion_tokens, total_tokens } = data.usage;
  assert.ok(prompt_tokens > 0 && completion_tokens > 0);
  assert.equal(total_tokens, prompt_tokens + completion_tokens);
  assert.equal(await logged(response.headers.get("tidewire-task")), message.content);
});

await test("a_streamed_answer_comes_in_chunks_and_ends_cleanly", async () => {
  const { stream } = await streamed(ask(40));
  const chunks = await all(stream);
  assert.ok(chunks.filter(({ choices }) => choices[0].delta.content).length > 1);
  assert.ok(["stop", "length"].includes(chunks.at(-1).choices[0].finish_reason));
  assert.ok(chunks.every(({ usage }) => !usage), "usage comes only where it was asked for");
});

await test("include_usage_adds_one_last_chunk_with_the_numbers", async () => {
  const { stream } = await streamed(ask(20, { stream_options: { include_usage: true } }));
  const last = (await all(stream)).at(-1);
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.prompt_tokens > 0 && last.usage.completion_tokens > 0);
});

await test("a_long_text_of_many_languages_is_the_log_byte_for_byte", async () => {
  const { task, stream } = await streamed(ask(400));
  const text = (await all(stream)).map(({ choices }) => choices[0].delta.content ?? "").join("");
  assert.ok(text.length > 200);
  assert.deepEqual(Buffer.from(text), Buffer.from(await logged(task)));
  if (scripted) assert.ok(text.endsWith("w399-é漢🙂… "));
});

await test("the_stream_helper_gathers_the_same_text", async () => {
  const stream = client.chat.completions.stream(ask(40));
  let text = "";
  stream.on("content", (delta) => { text += delta; });
  assert.equal(await stream.finalContent(), text);
  assert.ok(text.length > 0);
});

await test("a_file_is_uploaded_read_back_and_named_in_a_message", async () => {
  const words = "The tide comes in twice a day. ".repeat(4);
  const upload = await toFile(Buffer.from(words), "tide.txt");
  let file = await client.files.create({ file: upload, purpose: "user_data" });
  assert.deepEqual([file.object, file.bytes, file.filename], ["file", words.length, "tide.txt"]);
  file = await client.files.waitForProcessing(file.id, { pollInterval: 100 });
  assert.equal(file.status, "processed");
  assert.equal(await (await client.files.content(file.id)).text(), words);
  const listed = [];
  for await (const { id } of client.files.list({ limit: 1 })) listed.push(id);
  assert.ok(listed.includes(file.id));
  const part = { type: "file", file: { file_id: file.id } };
  const messages = [{ role: "user", content: [{ type: "text", text: "Summarise:" }, part] }];
  const answer = await client.chat.completions.create(ask(5, { messages }));
  assert.ok(answer.choices[0].message.content && answer.usage.prompt_tokens >= 28);
  assert.equal((await client.files.delete(file.id)).deleted, true);
  const unknown = (error) => error instanceof OpenAI.NotFoundError && error.code === "unknown_file";
  await assert.rejects(client.files.retrieve(file.id), unknown);
  await assert.rejects(client.chat.completions.create(ask(5, { messages })), unknown);
});

await test("texts_become_vectors_in_their_order", async () => {
  const { data, usage } = await client.embeddings.create({ model: embeds, input: ["tide", "wire", "tide"] });
  assert.deepEqual(data[0].embedding, data[2].embedding);
  assert.notDeepEqual(data[0].embedding, data[1].embedding);
  assert.ok(usage.prompt_tokens > 0 && data[0].embedding.every(Number.isFinite));
  const floats = await client.embeddings.create({ model: embeds, input: "tide", encoding_format: "float", dimensions: 64 });
  assert.equal(floats.data[0].embedding.length, 64);
});

await test("an_unknown_model_is_a_not_found_error", async () => {
  const error = await client.chat.completions.create(ask(5, { model: "no-such-model" })).catch((error) => error);
  assert.ok(error instanceof OpenAI.NotFoundError, String(error));
  assert.equal(error.code, "unknown_model");
  assert.equal(error.type, "invalid_request_error");
});

await test("an_invalid_body_is_a_bad_request_error", async () => {
  for (const fields of [{ messages: "hello" }, { messages: [] }, { n: 999 }]) {
    const error = await client.chat.completions.create(ask(5, fields)).catch((error) => error);
    assert.ok(error instanceof OpenAI.BadRequestError, `${JSON.stringify(fields)}: ${error}`);
    assert.equal(error.code, "invalid_request");
  }
});

await test("closing_a_stream_early_stops_the_task", async () => {
  const { task, stream } = await streamed(ask(1500, { delay_ms: 20 }));
  // Leaving the loop closes the connection.
  for await (const { choices } of stream) if (choices[0].delta.content) break;
  // Waits for the task's end, or for so long.
  const answer = await get(`/v1/tasks/${task}/text?wait_ms=10000`);
  assert.equal(answer.headers.get("tidewire-state"), "stopped");
  assert.ok((await answer.text()).length > 0);
  const record = await (await get(`/v1/tasks/${task}`)).json();
  assert.equal(record.state, "stopped");
});

await test("several_at_once", async () => {
  const texts = await Promise.all(Array.from({ length: 8 }, async () => {
    const { stream } = await streamed(ask(30));
    return (await all(stream)).map(({ choices }) => choices[0].delta.content ?? "").join("");
  }));
  assert.ok(texts.every((text) => text.length > 0));
});

end();
