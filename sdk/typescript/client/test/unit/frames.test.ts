// What listeners see: one telling a frame, snapshots that do not change under them, and how long a person waited.
import { expect, test } from "vitest";
import type { Measure } from "@tidewire/client";
import { messages } from "../../src/sse-parser.js";
import { settle, World } from "./world.js";

const text = (offset: number, data = "x") => ({ offset, type: "text", at: 1, data });

test("however much comes between two frames, each store tells once, and all together", async () => {
  const world = new World();
  const tasks = Array.from({ length: 20 }, (_, n) => `task_${n}`);
  for (const id of tasks) world.logs.set(id, { epoch: 1, events: Array.from({ length: 30 }, (_, n) => text(n)) });
  const client = world.connect();
  let told = 0;
  const stores = tasks.map((id) => client.follow(id));
  const leaves = stores.map((store) =>
    store.subscribe(() => {
      told += 1;
      // Whoever is told first sees all others as they will be.
      expect(stores.every(({ snapshot }) => snapshot.text.length === 30)).toBe(true);
    }),
  );
  await world.open();
  world.clock.paint();
  const before = stores.map(({ snapshot }) => snapshot);
  await world.flow();
  expect(told).toBe(0);
  expect(stores.map(({ snapshot }) => snapshot)).toEqual(before);
  expect(stores.every(({ snapshot }, n) => snapshot === before[n])).toBe(true);
  expect(world.clock.frames).toBe(1);
  world.clock.paint();
  expect(told).toBe(20);
  world.clock.paint();
  expect(told).toBe(20);
  for (const leave of leaves) leave();
  client.close();
});

test("a store that nobody listens to is unfollowed after a while, and goes on where it was", async () => {
  const world = new World();
  world.logs.set("task_x", { epoch: 1, events: [text(0), text(1)] });
  const client = world.connect();
  const task = client.follow("task_x");
  const ops = () => world.socket.heard.map(({ op }) => op).filter((op) => op !== "ping");
  const leave = task.subscribe(() => {});
  await world.open();
  await world.flow();
  leave();
  const back = task.subscribe(() => {});
  await world.clock.advance(2_500);
  expect(ops()).toEqual(["follow"]);
  back();
  await world.clock.advance(2_500);
  expect(ops()).toEqual(["follow", "unfollow"]);
  const again = client.follow("task_x");
  expect(again).toBe(task);
  again.subscribe(() => {});
  expect(world.socket.heard.at(-1)).toMatchObject({ op: "follow", after: 1, epoch: 1 });
  client.close();
});

test("a listener that throws does not keep others from hearing", async () => {
  const world = new World();
  world.logs.set("task_x", { epoch: 1, events: [text(0)] });
  const client = world.connect();
  const thrown: unknown[] = [];
  const heed = (error: unknown) => void thrown.push(error);
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException").on("uncaughtException", heed);
  let told = 0;
  client.follow("task_x").subscribe(() => {
    throw new Error("mine");
  });
  client.follow("task_x").subscribe(() => (told += 1));
  await world.open();
  await world.flow();
  world.clock.paint();
  await settle();
  process.removeListener("uncaughtException", heed);
  for (const other of others) process.on("uncaughtException", other);
  expect(told).toBe(1);
  expect(thrown).toMatchObject([{ message: "mine" }]);
  client.close();
});

test("the wait for the first token and for the first painted text is measured once and reported", async () => {
  const world = new World();
  const reported: Measure[][] = [];
  const client = world.connect({ report: (measures) => void reported.push(measures) });
  const task = client.send({ input: "hi" });
  task.subscribe(() => {});
  await world.open();
  await world.flow();
  await world.clock.advance(99);
  world.socket.queue.push({ op: "events", log: "task_0", epoch: 7, from: 0, to: 1, events: [text(0)] });
  await world.flow();
  // 100 ms after it was sent there is a text, and 40 ms later a frame.
  await world.clock.advance(40);
  world.clock.paint();
  await world.clock.advance(0);
  world.clock.paint();
  expect(task.snapshot).toMatchObject({ ttftMs: 100, ttarMs: 140 });
  world.socket.queue.push({ op: "events", log: "task_0", epoch: 7, from: 1, to: 2, events: [text(1)] });
  await world.flow();
  world.clock.paint();
  await world.clock.advance(20_000);
  expect(reported).toEqual([
    [
      { task: "task_0", name: "ttft", ms: 100 },
      { task: "task_0", name: "ttar", ms: 140 },
    ],
  ]);
  client.close();
});

test("a task that waits tells its place, and one that runs does not", async () => {
  const world = new World();
  world.logs.set("task_x", { epoch: 1, events: [] });
  const client = world.connect();
  const task = client.follow("task_x");
  task.subscribe(() => {});
  await world.open();
  await world.flow();
  world.socket.queue.push({ op: "waiting", task: "task_x", place: 4, wait_ms: 900 });
  await world.flow();
  world.clock.paint();
  expect(task.snapshot).toMatchObject({ status: "queued", place: 4, waitMs: 900 });
  const started = { offset: 0, type: "started", at: 5, data: { attempt: 1, model: "m", deployment: "d" } };
  world.socket.queue.push({ op: "events", log: "task_x", epoch: 1, from: 0, to: 1, events: [started] });
  await world.flow();
  world.clock.paint();
  expect(task.snapshot).toMatchObject({ status: "running", model: "m", deployment: "d", startedAt: 5 });
  expect(task.snapshot).not.toHaveProperty("place");
  client.close();
});

test("server-sent events are read right wherever their bytes are cut", async () => {
  const stream =
    ':\n\nid: 3\nevent: text\ndata: {"data":"é🌊"}\n\nevent: waiting\ndata: {"place":1}\n\n:\n\ndata: {}\n\n';
  const bytes = new TextEncoder().encode(stream);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(bytes.slice(0, cut));
        controller.enqueue(bytes.slice(cut));
        controller.close();
      },
    });
    const seen = [];
    for await (const message of messages(new Response(body), () => {})) seen.push(message);
    expect(seen).toEqual([
      { event: "text", data: '{"data":"é🌊"}' },
      { event: "waiting", data: '{"place":1}' },
      { event: "", data: "{}" },
    ]);
  }
});
