// AG-UI's HttpAgent, unchanged: node ag_ui.mjs URL.
import assert from "node:assert/strict";
import { HttpAgent } from "@ag-ui/client";
import { base, json, logged, suite, task, until, wire, words } from "./harness.mjs";

// The client leaves a rejection of its own behind where a connection breaks, beside the one that it gives to its caller.
process.on("unhandledRejection", (error) => {
  if (error?.message !== "terminated" && error?.name !== "AbortError") throw error;
});

const { test, end } = suite("ag-ui");
let serial = 0;
const fresh = () => `thread-${process.pid}-${(serial += 1)}`;

/** An agent whose user has said something, and what it was told. */
function agent(script, { url = base, threadId = fresh(), say = "go" } = {}) {
  const made = new HttpAgent({ url: `${url}/v1/ag-ui`, threadId, initialMessages: [{ id: `${threadId}-1`, role: "user", content: say }] });
  const seen = { events: [], task: undefined };
  made.subscribe({
    onEvent: ({ event }) => void seen.events.push(event.type),
    onCustomEvent: ({ event }) => void (seen.task = event.value.task),
  });
  const run = (more = {}) => made.runAgent({ forwardedProps: { script }, ...more });
  return { made, seen, run, said: () => made.messages.filter((message) => message.role === "assistant").map((message) => message.content).join("") };
}

await test("a run streams, and its end tells what it took", async () => {
  const one = agent({ tokens: 60, delay_ms: 2, reasoning: "let me see" });
  const { result } = await one.run();
  assert.equal(one.said(), words(60));
  assert.equal(one.made.messages.find((message) => message.role === "reasoning").content, "let me see");
  assert.equal(result.task, one.seen.task);
  assert.equal(typeof result.costUsd, "number");
  assert.equal(await logged(result.task), words(60));
});

await test("the next run of a thread knows what was said before", async () => {
  const one = agent({ tokens: 3, delay_ms: 0 });
  await one.run();
  one.made.addMessage({ id: "next", role: "user", content: "and then?" });
  await one.run();
  const { input, lane } = await task(one.seen.task);
  assert.equal(lane, one.made.threadId);
  assert.deepEqual(input.messages, [
    { role: "user", content: "go" }, { role: "assistant", content: words(3) }, { role: "user", content: "and then?" },
  ]);
});

await test("calls of tools belong to one message, and their results go back", async () => {
  const call = (index, port) => ({ index, id: `call_${port}`, type: "function", function: { name: "tide", arguments: JSON.stringify({ port }) } });
  const one = agent({ tokens: 0, tool_calls: [call(0, "Brest"), call(1, "Dover")], finish_reason: "tool_calls" });
  const tools = [{ name: "tide", description: "The tide at a port.", parameters: { type: "object", properties: {} } }];
  await one.run({ tools });
  const [, asking] = one.made.messages;
  assert.deepEqual(asking.toolCalls.map((made) => made.function.arguments), ['{"port":"Brest"}', '{"port":"Dover"}']);
  for (const { id } of asking.toolCalls) one.made.addMessage({ id: `result-${id}`, role: "tool", toolCallId: id, content: "noon" });
  await one.run({ tools });
  const { input } = await task(one.seen.task);
  assert.deepEqual(input.messages.map((message) => message.role), ["user", "assistant", "tool", "tool"]);
  assert.equal(input.tools[0].function.name, "tide");
});

await test("a run that is cut is the same run when it is asked for again, told from its beginning", async () => {
  const line = await wire();
  const one = agent({ tokens: 400, delay_ms: 5 }, { url: line.url });
  const cut = assert.rejects(one.run({ runId: "run-1" }));
  await until("the first words", () => one.said().length > 0);
  line.cut();
  await cut;
  const { task: first } = one.seen;
  const said = one.said();
  assert.ok(words(400).startsWith(said) && said.length < words(400).length);
  await one.run({ runId: "run-1" });
  assert.deepEqual([one.seen.task, one.said()], [first, words(400)]);
  assert.equal((await json(`/v1/tasks?lane=${one.made.threadId}`)).tasks.filter((task) => task.lane === one.made.threadId).length, 1);
});

await test("what a failed attempt had said is taken back", async () => {
  const one = agent({ tokens: 40, delay_ms: 1, fail_at: 20, fault: "broken", continues: false, fail_attempts: 1, key: fresh() });
  await one.run();
  assert.equal(one.said(), words(40));
  assert.ok(one.seen.events.includes("MESSAGES_SNAPSHOT"));
});

await test("a failure is an error with its code", async () => {
  const one = agent({ tokens: 9, fail_at: 5, fault: "invalid" });
  const errors = [];
  one.made.subscribe({ onRunErrorEvent: ({ event }) => void errors.push(event) });
  await one.run().catch(() => {});
  assert.match(errors[0].code, /^(upstream_|invalid_)/);
  assert.equal(one.said(), words(5));
});

await test("abortRun only leaves; a stop of the task ends the run for whoever reads it", async () => {
  const one = agent({ tokens: 4000, delay_ms: 5 });
  const running = one.run().catch(() => {});
  await until("the first words", () => one.said().length > 0);
  one.made.abortRun();
  await running;
  assert.equal((await task(one.seen.task)).state, "running");
  const again = agent({}, { threadId: one.made.threadId });
  // Its run is another one, and waits in the thread's lane until the first one ends.
  const next = again.run();
  await json(`/v1/tasks/${one.seen.task}/stop`, { method: "POST" });
  await next;
  assert.equal((await task(one.seen.task)).state, "stopped");
});

await test("a run that nobody comes back for stops where its reader leaves, if it was said so", async () => {
  const one = agent({ tokens: 4000, delay_ms: 5 });
  const running = one.run({ forwardedProps: { script: { tokens: 4000, delay_ms: 5 }, tidewire: { on_disconnect: "stop" } } }).catch(() => {});
  await until("the first words", () => one.said().length > 0);
  one.made.abortRun();
  await running;
  await until("the task's end", async () => (await task(one.seen.task)).state === "stopped");
});

end();
