// Centrifugo's client for JavaScript, unchanged: node centrifuge.mjs URL.
import assert from "node:assert/strict";
import { Centrifuge } from "centrifuge";
import { base, logged, suite, until, wire, words } from "./harness.mjs";

const { test, end } = suite("centrifuge");
const connect = (url = base) => {
  const client = new Centrifuge(`${url.replace("http", "ws")}/v1/centrifuge`, { minReconnectDelay: 5, maxReconnectDelay: 50 });
  client.connect();
  return client;
};
const submit = async (client, script) => {
  const input = { messages: [{ role: "user", content: "go" }], script };
  return (await client.rpc("submit", { input })).data.task;
};

/** Follows a channel: what it said, and how often something came twice or was left out. */
function follow(client, channel) {
  const seen = { text: "", next: 0, wrong: 0, subscribed: [], over: undefined, error: undefined };
  const subscription = client.newSubscription(channel);
  subscription.on("subscribed", (context) => seen.subscribed.push(context));
  subscription.on("error", ({ error }) => void (seen.error = error));
  subscription.on("publication", ({ data, offset }) => {
    if (data.from !== seen.next || offset !== data.to) seen.wrong += 1;
    seen.next = data.to;
    for (const event of data.events) if (event.type === "text") seen.text += event.data;
  });
  subscription.on("unsubscribed", ({ code, reason }) => void (seen.over = { code, reason }));
  subscription.subscribe();
  return seen;
}

await test("a task that is submitted is followed to its end", async () => {
  const client = connect();
  const task = await submit(client, { tokens: 60, delay_ms: 2 });
  const seen = follow(client, task);
  await until("the end", () => seen.over);
  assert.deepEqual([seen.text, seen.wrong, seen.over], [words(60), 0, { code: 2000, reason: "ended" }]);
  assert.equal(seen.subscribed.length, 1, "nothing broke on the way");
  client.disconnect();
});

await test("a connection that is cut again and again misses nothing and hears nothing twice", async () => {
  const line = await wire();
  const client = connect(line.url);
  const task = await submit(client, { tokens: 400, delay_ms: 3 });
  const seen = follow(client, task);
  for (let cut = 1; cut <= 4; cut += 1) {
    await until("more words", () => seen.text.length > cut * 200);
    line.cut();
    await until("it is back", () => seen.subscribed.length > cut);
  }
  await until("the end", () => seen.over);
  assert.deepEqual([seen.text, seen.wrong], [words(400), 0]);
  assert.ok(seen.subscribed.slice(1).every((back) => back.wasRecovering && back.recovered), JSON.stringify(seen.subscribed));
  assert.equal(seen.subscribed.length, 5, "it came back once from each cut");
  client.disconnect();
});

await test("two clients follow one task, and a stop by one ends it for both", async () => {
  const [one, other] = [connect(), connect()];
  const task = await submit(one, { tokens: 4000, delay_ms: 5 });
  const both = [follow(one, task), follow(other, task)];
  await until("words on both", () => both.every((seen) => seen.text));
  assert.deepEqual((await other.rpc("stop", { task })).data, { task, state: "stopped" });
  await until("the end", () => both.every((seen) => seen.over));
  const whole = await logged(task);
  assert.deepEqual(both.map((seen) => seen.text), [whole, whole]);
  for (const client of [one, other]) client.disconnect();
});

await test("what ended long ago is told from its beginning", async () => {
  const client = connect();
  const task = await submit(client, { tokens: 2000, delay_ms: 0 });
  await logged(task);
  const seen = follow(client, task);
  await until("the end", () => seen.over);
  assert.deepEqual([seen.text, seen.wrong, seen.subscribed.length], [words(2000), 0, 1]);
  client.disconnect();
});

await test("errors have Centrifugo's numbers and our codes", async () => {
  const client = connect();
  await client.ready();
  const nowhere = follow(client, "task_nowhere");
  await until("it is unknown", () => nowhere.over ?? nowhere.error);
  assert.match(JSON.stringify(nowhere.over ?? nowhere.error), /102/);
  for (const [asked, code, says] of [
    [client.rpc("sbmit", {}), 104, /`submit`/],
    [client.rpc("submit", { promt: "x" }), 107, /^invalid_request: .*`prompt`/],
    [client.publish("x", {}), 108, /rpc/],
  ]) {
    const error = await asked.then(() => assert.fail("it was taken"), (error) => error);
    assert.equal(error.code, code, JSON.stringify(error));
    assert.match(error.message, says);
  }
  client.disconnect();
});

end();
