// An EventSource as browsers have it: node event_source.mjs URL.
import assert from "node:assert/strict";
import { EventSource } from "eventsource";
import { base, json, logged, suite, until, wire, words } from "./harness.mjs";

const { test, end } = suite("eventsource");
const submit = async (script) => {
  const input = { messages: [{ role: "user", content: "go" }], script };
  return (await json("/v1/tasks", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ input }) })).id;
};

/** Follows a task, and comes back by itself after each cut. */
function follow(task, url = base) {
  const seen = { text: "", next: 0, wrong: 0, opened: 0, ended: false };
  const source = new EventSource(`${url}/v1/tasks/${task}/events`);
  source.onopen = () => void (seen.opened += 1);
  for (const kind of ["started", "text", "retry", "rewind", "end"]) {
    source.addEventListener(kind, ({ data }) => {
      const event = JSON.parse(data);
      if (event.offset !== seen.next) seen.wrong += 1;
      seen.next = event.offset + (event.count ?? 1);
      if (event.type === "text") seen.text += event.data;
      if (event.type === "end") seen.ended = true;
    });
  }
  return { source, seen };
}

await test("a task is followed to its end, and then nobody comes back", async () => {
  const { source, seen } = follow(await submit({ tokens: 60, delay_ms: 2 }));
  // After the end it asks once more, is told 204, and stays away.
  await until("the end", () => seen.ended && source.readyState === EventSource.CLOSED);
  assert.deepEqual([seen.text, seen.wrong], [words(60), 0]);
});

await test("a connection that is cut goes on where it was", async () => {
  const line = await wire();
  const task = await submit({ tokens: 1500, delay_ms: 3 });
  const { source, seen } = follow(task, line.url);
  await until("words", () => seen.text.length > 100);
  line.cut();
  await until("it is back", () => seen.opened > 1);
  await until("the end", () => seen.ended);
  assert.deepEqual([seen.text, seen.wrong, await logged(task)], [words(1500), 0, words(1500)]);
  source.close();
});

end();
