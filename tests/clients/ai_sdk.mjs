// The AI SDK's useChat, unchanged, over both of its transports: node ai_sdk.mjs URL.
import assert from "node:assert/strict";
import { givePage } from "./dom.mjs";
import { base, json, logged, suite, task, until, wire, words } from "./harness.mjs";

// Before React is loaded, which looks for a page. The network stays node's own.
givePage();
const React = (await import("react")).default;
const { createRoot } = await import("react-dom/client");
const { useChat } = await import("@ai-sdk/react");
const { DefaultChatTransport, WebSocketChatTransport } = await import("ai");

const { test, end } = suite("ai sdk");
const text = (message) => (message?.parts ?? []).filter((part) => part.type === "text").map((part) => part.text).join("");
let serial = 0;
const fresh = () => `chat-${process.pid}-${(serial += 1)}`;

const transports = {
  sse: (url, script) => new DefaultChatTransport({ api: `${url}/v1/ai-sdk/chat`, body: { script } }),
  websocket: (url, script) => new WebSocketChatTransport({ url: `${url}/v1/ai-sdk/ws`, body: { script } }),
};

/** A page with one chat on it. */
function page(options) {
  let chat;
  const errors = [];
  function Screen() {
    chat = useChat({ ...options, onError: (error) => errors.push(error) });
    return null;
  }
  const root = createRoot(document.createElement("div"));
  root.render(React.createElement(Screen));
  return {
    errors,
    close: () => root.unmount(),
    now: () => chat,
    answer: () => chat?.messages.findLast((message) => message.role === "assistant"),
    mounted: () => until("a mounted page", () => chat),
    ready: () => until("an answer", () => chat?.status === "ready" || chat?.status === "error"),
  };
}

async function send(shown, what) {
  await shown.mounted();
  shown.now().sendMessage({ text: what });
  await until("the first words", () => text(shown.answer()).length > 0 || shown.now().status === "error");
}

for (const [kind, transport] of Object.entries(transports)) {
  await test(`${kind}: an answer streams, and its metadata tells what it took`, async () => {
    const shown = page({ id: fresh(), transport: transport(base, { tokens: 60, delay_ms: 2, reasoning: "let me see" }) });
    await send(shown, "go");
    await shown.ready();
    const answer = shown.answer();
    assert.equal(text(answer), words(60));
    assert.equal(answer.parts.find((part) => part.type === "reasoning")?.text, "let me see");
    const { task: id, model, usage, costUsd, ttftMs, totalMs } = answer.metadata;
    assert.equal(answer.id, id.replace("task_", "msg_"));
    assert.equal(await logged(id), words(60));
    assert.ok(model && usage.outputTokens >= 60 && typeof costUsd === "number" && ttftMs <= totalMs, JSON.stringify(answer.metadata));
    shown.close();
  });

  await test(`${kind}: the next message knows what was said before`, async () => {
    const shown = page({ id: fresh(), transport: transport(base, { tokens: 3, delay_ms: 0 }) });
    await send(shown, "one");
    await shown.ready();
    await send(shown, "two");
    await until("a second answer", () => shown.now().messages.length === 4 && shown.now().status === "ready");
    const { input } = await task(shown.answer().metadata.task);
    assert.deepEqual(input.messages, [
      { role: "user", content: "one" }, { role: "assistant", content: words(3) }, { role: "user", content: "two" },
    ]);
    shown.close();
  });

  await test(`${kind}: a chat that is cut goes on after a reload, from its first word to its last`, async () => {
    const line = await wire();
    const id = fresh();
    const first = page({ id, transport: transport(line.url, { tokens: 400, delay_ms: 5 }) });
    await send(first, "go");
    line.cut();
    await until("the cut", () => first.now().status === "error");
    const said = first.answer();
    first.close();
    // What a page has stored stands there again; the rest comes from the log.
    const second = page({ id, messages: [first.now().messages[0]], transport: transport(line.url, {}), resume: true });
    await until("the rest", () => text(second.answer()).length > text(said).length);
    assert.equal(second.answer().id, said.id);
    line.cut();
    await until("the second cut", () => second.now().status === "error");
    second.now().resumeStream();
    await until("the end", () => text(second.answer()) === words(400) && second.now().status === "ready");
    assert.deepEqual(second.now().messages.map((message) => message.role), ["user", "assistant"]);
    second.close();
  });

  await test(`${kind}: an idle chat has nothing to resume`, async () => {
    const shown = page({ id: fresh(), transport: transport(base, {}), resume: true });
    await shown.mounted();
    await shown.now().resumeStream();
    assert.deepEqual([shown.now().status, shown.now().messages.length, shown.errors.length], ["ready", 0, 0]);
    shown.close();
  });

  await test(`${kind}: two pages see one answer, and a stop by the chat's id ends it for both`, async () => {
    const id = fresh();
    const first = page({ id, transport: transport(base, { tokens: 4000, delay_ms: 5 }) });
    await send(first, "go");
    const second = page({ id, transport: transport(base, {}), resume: true });
    await until("words on the second page", () => text(second.answer()).length > 0);
    const { stopped } = await json(`/v1/ai-sdk/chat/${id}/stop`, { method: "POST" });
    assert.deepEqual(stopped, [first.answer().metadata.task]);
    await Promise.all([first.ready(), second.ready()]);
    const whole = await logged(stopped[0]);
    assert.ok(words(4000).startsWith(whole) && whole.length < words(4000).length);
    assert.deepEqual([text(first.answer()), text(second.answer())], [whole, whole]);
    first.close();
    second.close();
  });

  await test(`${kind}: a call of a tool comes as a part, and its result goes back`, async () => {
    const call = [{ index: 0, id: "call_1", type: "function", function: { name: "tide", arguments: '{"port":"Brest"}' } }];
    const id = fresh();
    const shown = page({ id, transport: transport(base, { tokens: 0, tool_calls: call, finish_reason: "tool_calls" }) });
    await shown.mounted();
    shown.now().sendMessage({ text: "when?" });
    const part = () => shown.answer()?.parts.find((part) => part.type === "tool-tide");
    await until("the call", () => part()?.state === "input-available" && shown.now().status === "ready");
    assert.deepEqual(part().input, { port: "Brest" });
    await shown.now().addToolOutput({ tool: "tide", toolCallId: "call_1", output: { high: "noon" } });
    await until("its result", () => part()?.state === "output-available");
    shown.now().sendMessage({ text: "so?" });
    await until("the next answer", () => shown.now().messages.length === 4 && shown.now().status === "ready");
    const { input } = await task(shown.answer().metadata.task);
    assert.deepEqual(input.messages[1].tool_calls[0].function, { name: "tide", arguments: '{"port":"Brest"}' });
    assert.deepEqual(input.messages[2], { role: "tool", tool_call_id: "call_1", content: '{"high":"noon"}' });
    shown.close();
  });

  await test(`${kind}: what a failed attempt had said is taken back`, async () => {
    const script = { tokens: 40, delay_ms: 1, fail_at: 20, fault: "broken", continues: false, fail_attempts: 1, key: fresh() };
    const shown = page({ id: fresh(), transport: transport(base, script) });
    await send(shown, "go");
    await shown.ready();
    assert.deepEqual([shown.errors.map(String), text(shown.answer())], [[], words(40)]);
    const { attempts } = await task(shown.answer().metadata.task);
    assert.equal(attempts, 2);
    shown.close();
  });

  await test(`${kind}: a failure is an error with its code, and keeps what was said`, async () => {
    const shown = page({ id: fresh(), transport: transport(base, { tokens: 9, fail_at: 5, fault: "invalid" }) });
    await send(shown, "go");
    await until("the error", () => shown.now().status === "error");
    assert.match(String(shown.errors[0]), /\((upstream_|invalid_)\w+\)/);
    assert.equal(text(shown.answer()), words(5));
    shown.close();
  });
}

await test("websocket: stop() on the page stops the task", async () => {
  const shown = page({ id: fresh(), transport: transports.websocket(base, { tokens: 4000, delay_ms: 5 }) });
  await send(shown, "go");
  const id = shown.answer().metadata.task;
  await shown.now().stop();
  await until("the task's end", async () => (await task(id)).state === "stopped");
  shown.close();
});

await test("sse: stop() on the page only leaves; the task goes on for whoever comes back", async () => {
  const shown = page({ id: fresh(), transport: transports.sse(base, { tokens: 100, delay_ms: 5 }) });
  await send(shown, "go");
  const id = shown.answer().metadata.task;
  await shown.now().stop();
  assert.equal(await logged(id), words(100));
  shown.close();
});

await test("websocket: two chats share one connection", async () => {
  const shared = transports.websocket(base, { tokens: 50, delay_ms: 2 });
  const pages = [fresh(), fresh()].map((id) => page({ id, transport: shared }));
  await Promise.all(pages.map((shown) => send(shown, "go")));
  await Promise.all(pages.map((shown) => shown.ready()));
  for (const shown of pages) {
    assert.equal(text(shown.answer()), words(50));
    shown.close();
  }
});

end();
