// The connection's manners: how it comes back, when it gives up, what it says and what it never says.
import { expect, test } from "vitest";
import { TidewireError, type ConnectionStatus } from "@tidewire/client";
import { random, seed } from "../random.js";
import { settle, World } from "./world.js";

const state = (client: { status: { snapshot: ConnectionStatus } }, world: World) => {
  world.clock.paint();
  return client.status.snapshot.state;
};

test("a submit whose ack was lost is sent again under the same key, and is one task", async () => {
  const world = new World();
  const client = world.connect();
  const ack = client.submit({ input: "hi" });
  await world.open();
  world.socket.drop();
  await world.clock.advance(1_000);
  await world.flow();
  expect((await ack).id).toBe("task_0");
  const [first, second] = world.sockets.map(({ heard }) => heard.find(({ op }) => op === "submit")!["task"]);
  expect(second).toEqual(first);
  expect(first).toMatchObject({ prompt: "hi", idempotency_key: expect.stringMatching(/^[0-9a-f]{32}$/) });
  expect(world.keys.size).toBe(1);
  client.close();
});

test("a submit says all that a task can be asked, in the words of the wire", async () => {
  const world = new World();
  const client = world.connect();
  const input = { messages: [{ role: "user", content: "hi" }], max_tokens: 3, topK: 1 };
  const ack = client.submit({
    input,
    route: "chat",
    lane: "l",
    onBusy: "replace",
    deadlineMs: 5,
    budget: { steps: 1, timeMs: 2 },
    metadata: { camelCase: true },
    idempotencyKey: "k",
    delayMs: undefined,
  });
  await world.open();
  expect(world.socket.heard.find(({ op }) => op === "submit")!["task"]).toEqual({
    input,
    model: "chat",
    lane: "l",
    on_busy: "replace",
    deadline_ms: 5,
    budget: { steps: 1, time_ms: 2 },
    metadata: { camelCase: true },
    idempotency_key: "k",
  });
  await world.flow();
  await ack;
  client.close();
});

test("a submit that the server could not take is sent again when it asked for that, and a refused one is not", async () => {
  const world = new World();
  const answers = ["unavailable", "queue_full"];
  const answer = world.answer.bind(world);
  world.answer = (socket, frame) => {
    const code = frame.op === "submit" ? answers.shift() : undefined;
    if (!code) return answer(socket, frame);
    socket.queue.push({ op: "error", ref: frame.ref!, error: { code, message: code, retry_after_ms: 2_000 } });
  };
  const client = world.connect();
  const ack = client.submit({ input: "hi" });
  const refused = expect(ack).rejects.toMatchObject({ code: "queue_full", retryAfterMs: 2_000 });
  await world.open();
  await world.flow();
  const submits = () => world.socket.heard.filter(({ op }) => op === "submit").length;
  await world.clock.advance(1_900);
  expect(submits()).toBe(1);
  await world.clock.advance(200);
  expect(submits()).toBe(2);
  await world.flow();
  await refused;
  await world.clock.advance(5_000);
  expect(submits()).toBe(2);
  client.close();
});

test("waits between attempts are drawn from a range that doubles up to half a minute", async () => {
  // As unlucky as can be: each wait is the longest.
  const world = new World(() => 0.999999);
  world.upgrades = "refuse";
  world.network = false;
  const client = world.connect();
  const waits: number[] = [];
  client.status.subscribe(() => {
    const { retryInMs } = client.status.snapshot;
    if (retryInMs !== undefined && retryInMs !== waits.at(-1)) waits.push(retryInMs);
  });
  for (let step = 0; step < 3_000 && waits.length < 8; step++) {
    await world.clock.advance(100);
    world.clock.paint();
  }
  expect(waits.map(Math.round)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]);
  expect(state(client, world)).toBe("offline");
  client.close();
});

test("the waits of many clients are spread over the whole range", async () => {
  const chance = random(seed);
  const waits: number[] = [];
  for (let n = 0; n < 50; n++) {
    const world = new World(chance);
    const client = world.connect();
    await world.open();
    world.socket.drop();
    world.clock.paint();
    waits.push(client.status.snapshot.retryInMs!);
    client.close();
  }
  expect(Math.min(...waits)).toBeLessThan(100);
  expect(Math.max(...waits)).toBeGreaterThan(400);
});

test.each([
  [1000, true],
  [1001, true],
  [1006, true],
  [1011, true],
  [4000, true],
  [4001, true],
  [4002, true],
  [4499, true],
  [1002, false],
  [1003, false],
  [1007, false],
  [1009, false],
  [4500, false],
  [4501, false],
  [4502, false],
  [4999, false],
])("after close code %i the client comes back: %s", async (code, comesBack) => {
  const world = new World();
  const client = world.connect({ key: "tw_secret" });
  const result = client.follow("task_x").result();
  const told = result.catch((error: unknown) => error);
  await world.open();
  world.socket.drop(code, "because");
  await world.clock.advance(2_000);
  expect(world.sockets).toHaveLength(comesBack ? 2 : 1);
  expect(state(client, world)).toBe(comesBack ? "open" : "closed");
  client.close();
  if (!comesBack) expect(await told).toBeInstanceOf(TidewireError);
});

test("an expired key is asked for anew where a function gives it", async () => {
  const world = new World();
  const keys = ["tw_old", "tw_new"];
  const client = world.connect({ key: () => keys[world.sockets.length] ?? "tw_later" });
  await world.open();
  world.socket.drop(4502, "key_expired");
  await world.clock.advance(1_000);
  expect(state(client, world)).toBe("open");
  const tickets = world.requests.filter(({ path }) => path === "/v1/tickets");
  expect(tickets.map(({ headers }) => headers.get("authorization"))).toEqual(["Bearer tw_old", "Bearer tw_new"]);
  client.close();
});

test("a key is in no URL and in no error", async () => {
  const world = new World();
  const client = world.connect({ key: "tw_secret" });
  await world.open();
  expect(world.socket.url).toBe("ws://server.test/v1/ws?ticket=tk_once");
  world.routes.set("/v1/tasks", () => Response.json({ error: { code: "forbidden", message: "no" } }, { status: 403 }));
  const error = await client.tasks().catch((error: unknown) => error as TidewireError);
  expect(JSON.stringify([error, String(error), client.status.snapshot])).not.toContain("secret");
  expect(world.requests.every(({ headers }) => headers.get("authorization") === "Bearer tw_secret")).toBe(true);
  client.close();
});

test("a silent connection is given up, one that answers its pings is kept", async () => {
  const world = new World();
  const client = world.connect();
  await world.open();
  for (let second = 0; second < 60; second++) {
    await world.flow();
    await world.clock.advance(1_000);
  }
  expect(world.sockets).toHaveLength(1);
  world.alive = false;
  await world.clock.advance(25_000);
  expect(world.sockets.length).toBeGreaterThan(1);
  expect(world.sockets[0]!.closed).toBe(true);
  client.close();
});

test("a handshake that nobody answers is given up", async () => {
  const world = new World();
  world.upgrades = "ignore";
  const client = world.connect();
  await world.clock.advance(20_000);
  expect(world.sockets.length).toBeGreaterThan(1);
  client.close();
});

test("after two refused upgrades, while HTTP works, server-sent events take over; not before, and not where told so", async () => {
  // It is loaded when it is needed, which takes longer than this world's time does.
  await import("../../src/sse.js");
  for (const transport of ["auto", "websocket"] as const) {
    const world = new World();
    world.upgrades = "refuse";
    const client = world.connect({ transport });
    await world.clock.advance(300);
    expect(client.status.snapshot.transport).toBe("websocket");
    for (let step = 0; step < 20; step++) await world.clock.advance(200);
    expect(state(client, world)).toBe(transport === "auto" ? "open" : "offline");
    expect(client.status.snapshot.transport).toBe(transport === "auto" ? "sse" : "websocket");
    client.close();
  }
});

test("a missing network is no reason for another transport, and is told as offline after three seconds", async () => {
  const world = new World();
  const client = world.connect();
  await world.open();
  world.network = false;
  world.socket.drop();
  await world.clock.advance(2_000);
  expect(["waiting", "connecting"]).toContain(state(client, world));
  await world.clock.advance(2_000);
  expect(state(client, world)).toBe("offline");
  expect(client.status.snapshot.transport).toBe("websocket");
  world.network = true;
  while (state(client, world) !== "open") await world.clock.advance(500);
  await settle();
  world.clock.paint();
  expect(client.status.snapshot.version).toBe("9.9.9");
  client.close();
});

test("where the server asks for a wait before another ticket, that is kept", async () => {
  const world = new World();
  const error = { error: { code: "rate_limited", message: "later" } };
  world.routes.set("/v1/tickets", () => Response.json(error, { status: 429, headers: { "retry-after": "20" } }));
  const client = world.connect({ key: "tw_secret" });
  await world.clock.advance(19_000);
  expect(world.requests).toHaveLength(1);
  await world.clock.advance(2_000);
  expect(world.requests).toHaveLength(2);
  client.close();
});

test("no more than a thousand submits wait for their ack", async () => {
  const world = new World();
  world.network = false;
  const client = world.connect();
  const rows = Array.from({ length: 1_001 }, () => client.send({ input: "hi" }));
  await settle();
  world.clock.paint();
  expect(rows[999]!.snapshot.status).toBe("sending");
  expect(rows[1_000]!.snapshot).toMatchObject({ status: "failed", error: { code: "too_many_pending" } });
  client.close();
  await expect(rows[0]!.acked).rejects.toMatchObject({ code: "closed" });
  await expect(client.submit({ input: "hi" })).rejects.toMatchObject({ code: "closed" });
});

test("an aborted submit is not sent any more, and one that was sent is not followed", async () => {
  const world = new World();
  const client = world.connect();
  const unsent = new AbortController();
  const early = client.submit({ input: "early" }, { signal: unsent.signal });
  unsent.abort();
  await expect(early).rejects.toThrow(/abort/i);
  await world.open();
  expect(world.socket.heard.some(({ op }) => op === "submit")).toBe(false);
  const sent = new AbortController();
  const late = client.submit({ input: "late" }, { signal: sent.signal });
  sent.abort();
  await expect(late).rejects.toThrow(/abort/i);
  await world.flow();
  expect(world.socket.heard.filter(({ op }) => op === "unfollow" || op === "stop")).toMatchObject([{ op: "unfollow" }]);
  client.close();
});

test("a refused row is sent again under its key", async () => {
  const world = new World();
  const client = world.connect();
  const row = client.send({ input: "hi" });
  await world.open();
  const { heard, queue } = world.socket;
  const ref = heard.find(({ op }) => op === "submit")!.ref!;
  queue.splice(0, queue.length, { op: "error", ref, error: { code: "queue_full", message: "full" } });
  await world.flow();
  await expect(row.acked).rejects.toMatchObject({ code: "queue_full" });
  const again = row.retry();
  expect(row.snapshot.status).toBe("sending");
  await world.flow();
  expect(await again).toBe(row);
  expect(row.snapshot.id).toBe("");
  world.clock.paint();
  expect(row.snapshot).toMatchObject({ id: "task_0", status: "queued" });
  client.close();
});
