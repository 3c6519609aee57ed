// Tasks over a real server: submit, follow, two clients, stop, batches, files, errors.
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Client, LogEvent } from "@tidewire/client";
import { client, reach, script, Server } from "./server.js";

let server: Server;
const clients: Client[] = [];
const open = (...args: Parameters<typeof client>) => {
  const made = client(...args);
  clients.push(made);
  return made;
};

beforeAll(async () => {
  server = await Server.start();
});
afterEach(() => {
  for (const made of clients.splice(0)) made.close();
});
afterAll(() => server.end());

for (const transport of ["websocket", "sse"] as const) {
  test(`an answer over ${transport} is byte-equal to the server's`, async () => {
    const task = await open(server.url, { transport }).submit({
      input: script({ tokens: 40, delay_ms: 2, seed: "é≠🌊" }),
    });
    const { status, text, usage, offset, ttftMs } = await task.result();
    expect(status).toBe("done");
    expect(text).toBe(await server.text(task.id));
    expect(text).toContain("é≠🌊39");
    expect(usage).toMatchObject({ output_tokens: 40 });
    expect(offset).toBeGreaterThan(0);
    expect(ttftMs).toBeGreaterThan(0);
  });

  test(`events over ${transport} come dense and in order, and can be read again from any of them`, async () => {
    const task = await open(server.url, { transport }).submit({ input: script({ tokens: 40, delay_ms: 2 }) });
    const events: LogEvent[] = [];
    for await (const event of task.events()) events.push(event);
    expect(events.at(-1)?.kind).toBe("end");
    let next = 0;
    for (const { offset, count } of events) {
      expect(offset).toBe(next);
      next = offset + count;
    }
    for (const from of events.slice(0, -1)) {
      const rest: LogEvent[] = [];
      for await (const event of task.events({ from })) rest.push(event);
      const covered = rest.reduce((sum, { count }) => sum + count, 0);
      expect(covered).toBe(next - from.offset - from.count);
    }
  });

  test(`a second client follows over ${transport} from the start, and stops the task for both`, async () => {
    const [one, two] = [open(server.url, { transport }), open(server.url, { transport })];
    const task = await one.submit({ input: script({ tokens: 5_000, delay_ms: 5 }) });
    await reach(task, () => task.snapshot.text.length > 100);
    const seen = two.follow(task.id);
    await reach(seen, () => seen.snapshot.text.length > 100);
    expect((await seen.stop()).state).toBe("stopped");
    const [first, second] = await Promise.all([task.result(), seen.result()]);
    expect(first.status).toBe("stopped");
    expect(second.text).toBe(first.text);
    expect(first.text).toBe(await server.text(task.id));
  });
}

test("the deltas of text() add up to the text", async () => {
  const task = await open(server.url).submit({ input: script({ tokens: 60, delay_ms: 2 }) });
  let text = "";
  for await (const part of task.text()) text = text.slice(0, part.rewindTo) + part.text;
  expect(text).toBe(await server.text(task.id));
});

test("an answer that began anew is told as a rewind, and reads as the server has it", async () => {
  const fails = { tokens: 30, delay_ms: 2, fail_at: 20, fail_attempts: 1, key: "rewind", continues: false };
  const task = await open(server.url).submit({ input: script(fails) });
  let text = "";
  let rewinds = 0;
  for await (const part of task.text()) {
    if (part.rewindTo !== undefined) rewinds += 1;
    text = text.slice(0, part.rewindTo) + part.text;
  }
  const result = await task.result();
  expect(rewinds).toBe(1);
  expect(result.rewinds).toBe(1);
  expect(result.attempt).toBe(2);
  expect(text).toBe(result.text);
  expect(text).toBe(await server.text(task.id));
});

test("one idempotency key is one task", async () => {
  const [one, two] = [open(server.url), open(server.url)];
  const submission = { input: script({ tokens: 5, delay_ms: 2 }), idempotencyKey: "only-once" };
  const first = await one.submit(submission);
  const again = await one.submit(submission);
  const other = await two.submit(submission);
  expect(again).toBe(first);
  expect(other.id).toBe(first.id);
  expect((await other.result()).text).toBe((await first.result()).text);
  await expect(two.submit({ ...submission, input: "something else" })).rejects.toMatchObject({
    code: "idempotency_conflict",
  });
});

test("a task that nobody knows is told as unknown", async () => {
  for (const transport of ["websocket", "sse"] as const) {
    const task = open(server.url, { transport }).follow("task_01k00000000000000000000000");
    await expect(task.result()).rejects.toMatchObject({ code: expect.stringMatching(/^unknown_(task|log)$/) });
    expect(task.snapshot.status).toBe("failed");
  }
});

test("a refused submit rejects with the server's code, and can be seen in its row", async () => {
  const one = open(server.url);
  await expect(one.submit({ input: [], route: "scripted" })).rejects.toMatchObject({
    name: "TidewireError",
    code: "invalid_request",
  });
  const row = one.send({ input: "hi", deadlineMs: -1 });
  expect(row.snapshot).toMatchObject({ status: "sending", id: "" });
  await expect(row.acked).rejects.toMatchObject({ code: "invalid_request" });
  await reach(row, () => row.snapshot.status === "failed");
});

test("a batch of 50 tells how far it has come, one by one", async () => {
  const one = open(server.url);
  const tasks = Array.from({ length: 50 }, (_, n) => ({ input: script({ tokens: 4, delay_ms: 1 }, `task ${n}`) }));
  const batch = await one.batch({ tasks, defaults: { priority: "bulk" }, metadata: { by: "test" } });
  const kinds: string[] = [];
  for await (const { kind } of batch.events()) kinds.push(kind);
  expect(kinds).toEqual(["batch", ...Array(50).fill("progress"), "end"]);
  const result = await batch.result();
  expect(result).toMatchObject({ status: "done", total: 50, done: 50, failed: 0, stopped: 0 });
  expect(result.tasks.map(({ status }) => status)).toEqual(Array(50).fill("done"));
  const page = await one.tasks({ batch: batch.id, state: ["done", "failed"], limit: 20 });
  expect(page.tasks).toHaveLength(20);
  expect((await one.tasks({ batch: batch.id, limit: 100, cursor: page.next })).tasks).toHaveLength(30);
  const all = await Promise.all(result.tasks.map(({ id }) => one.follow(id).result()));
  expect(new Set(all.map(({ text }) => text))).toEqual(new Set(["w0 w1 w2 w3 "]));
});

test("a file is kept, and a message names it", async () => {
  const one = open(server.url);
  const file = await one.file(new Blob(["the sea is salty because of rivers"]), { name: "sea.txt" });
  expect(file).toMatchObject({ filename: "sea.txt", bytes: 34, purpose: "user_data" });
  const content = [
    { type: "file", file: { file_id: file.id } },
    { type: "text", text: "why?" },
  ];
  const task = await one.submit({
    input: { messages: [{ role: "user", content }], script: { tokens: 3, delay_ms: 1 } },
  });
  expect((await task.result()).status).toBe("done");
  await one.feedback(task.id, { score: "up", tags: ["short"] });
  await one.feedback(task.id, { score: -1, comment: "no" });
  const { feedback } = await one.request<{ feedback: unknown[] }>("GET", `v1/tasks/${task.id}/feedback`);
  expect(feedback).toHaveLength(2);
});

test("a failed task is retried as a new one", async () => {
  const fault = { tokens: 5, delay_ms: 1, fault: "invalid", fail_attempts: 1, key: "dead" };
  const task = await open(server.url).submit({ input: script(fault), maxAttempts: 1 });
  const failed = await task.result();
  expect(failed.status).toBe("failed");
  expect(failed.error).toMatchObject({ code: "invalid_input" });
  const again = await task.retry();
  expect(again.id).not.toBe(task.id);
  expect((await again.result()).status).toBe("done");
});

test("an aborted signal unfollows, and the task goes on", async () => {
  const one = open(server.url);
  const gone = new AbortController();
  const task = await one.submit({ input: script({ tokens: 100, delay_ms: 5 }) });
  const reading = (async () => {
    for await (const _ of task.text({ signal: gone.signal })) gone.abort();
  })();
  await expect(reading).rejects.toThrow(/abort/i);
  expect((await server.text(task.id)).endsWith("w99 ")).toBe(true);
});
