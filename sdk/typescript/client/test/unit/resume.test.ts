// A log is whole and right however the connection is cut.
import { expect, test } from "vitest";
import type { LogEvent } from "@tidewire/client";
import { between, random, seed } from "../random.js";
import { settle, story, World } from "./world.js";

const ROUNDS = Number(process.env["TIDEWIRE_TEST_ROUNDS"] ?? 12);
const each = Array.from({ length: ROUNDS }, (_, round) => seed + round);

test.each(each)(
  "a connection that is cut at every frame's border tells a text that is byte-equal (seed %i)",
  async (seed) => {
    const length = story(random(seed)).log.events.length;
    for (let border = 0; border <= length + 2; border++) {
      const { log, text, toolCalls } = story(random(seed));
      const world = new World(random(seed));
      world.logs.set("task_x", log);
      const client = world.connect();
      const task = client.follow("task_x");
      const result = task.result();
      const parts = (async () => {
        let told = "";
        for await (const part of task.text()) told = told.slice(0, part.rewindTo) + part.text;
        return told;
      })();
      const events: LogEvent[] = [];
      const reading = (async () => {
        for await (const event of task.events()) events.push(event);
      })();
      await world.open();
      for (let frame = 0; frame < border && world.socket.deliver(); frame++) if (frame % 3 === 0) await settle();
      world.socket.drop();
      const whole = await world.finish(result);
      expect([whole.text, whole.toolCalls]).toEqual([text, toolCalls]);
      expect(await world.finish(parts)).toBe(text);
      await world.finish(reading);
      expect(offsets(events)).toEqual(Array.from({ length: log.events.length }, (_, offset) => offset));
      client.close();
    }
  },
);

const offsets = (events: LogEvent[]) =>
  events.flatMap(({ offset, count }) => Array.from({ length: count }, (_, n) => offset + n));

test.each(each)(
  "cuts at random frames, frames that come twice and frames that are lost change nothing (seed %i)",
  async (seed) => {
    const chance = random(seed);
    const { log, text, toolCalls } = story(chance, 3);
    const world = new World(chance);
    world.logs.set("task_x", log);
    const client = world.connect();
    const task = client.follow("task_x");
    const result = task.result();
    let done = false;
    void result.then(() => (done = true));
    for (let step = 0; step < 400 && !done; step++) {
      await world.clock.advance(between(chance, 1, 3_000));
      const { socket } = world;
      if (socket.closed) continue;
      const luck = chance();
      if (luck < 0.1) socket.drop();
      else if (luck < 0.2 && socket.queue[0]) socket.queue.unshift(socket.queue[0]);
      else if (luck < 0.3 && socket.queue[0]?.op === "events") socket.queue.shift();
      else socket.deliver();
      await settle();
    }
    const whole = await world.finish(result);
    expect([whole.text, whole.toolCalls]).toEqual([text, toolCalls]);
    client.close();
  },
);

test("a resumed log is asked for after the last offset, in its epoch", async () => {
  const world = new World();
  world.logs.set("task_x", {
    epoch: 5,
    events: [0, 1, 2].map((offset) => ({ offset, type: "text", at: 1, data: "x" })),
  });
  const client = world.connect();
  const leave = client.follow("task_x").subscribe(() => {});
  await world.open();
  await world.flow();
  world.socket.drop();
  await world.clock.advance(1_000);
  expect(world.sockets).toHaveLength(2);
  expect(world.socket.heard.find(({ op }) => op === "follow")).toMatchObject({ log: "task_x", after: 2, epoch: 5 });
  leave();
  client.close();
});

test("a lost frame is asked for once, however many come behind it, and one that comes twice is passed over", async () => {
  const world = new World();
  const events = Array.from({ length: 8 }, (_, offset) => ({ offset, type: "data", at: 1, data: offset }));
  world.logs.set("task_x", { epoch: 5, events });
  const client = world.connect();
  const leave = client.follow("task_x").subscribe(() => {});
  await world.open();
  const follows = () => world.socket.heard.filter(({ op }) => op === "follow").map(({ after }) => after);
  const { queue } = world.socket;
  const frame = (from: number, to: number) => ({
    op: "events",
    log: "task_x",
    epoch: 5,
    events: events.slice(from, to),
  });
  queue.splice(
    queue.findIndex(({ op }) => op === "events"),
    queue.length,
    frame(0, 2),
    frame(0, 2),
    frame(1, 3),
  );
  await world.flow();
  expect(follows()).toEqual([undefined]);
  queue.push(frame(4, 5), frame(5, 6), frame(6, 7));
  await world.flow();
  expect(follows()).toEqual([undefined, 2]);
  leave();
  client.close();
});

test("a log of another epoch is read again from its start, and readers of the text are told", async () => {
  const world = new World();
  const events = (word: string) => [0, 1].map((offset) => ({ offset, type: "text", at: 1, data: word }));
  world.logs.set("task_x", { epoch: 1, events: events("old") });
  const client = world.connect();
  const task = client.follow("task_x");
  const parts: unknown[] = [];
  void (async () => {
    for await (const part of task.text()) parts.push(part);
  })().catch(() => {});
  await world.open();
  await world.flow();
  world.logs.set("task_x", { epoch: 2, events: events("new") });
  world.socket.drop();
  await world.clock.advance(1_000);
  await world.flow();
  world.clock.paint();
  expect(task.snapshot).toMatchObject({ text: "newnew", epoch: 2, offset: 1 });
  expect(
    parts.reduce<string>((text, part) => {
      const { text: more, rewindTo } = part as { text: string; rewindTo?: number };
      return text.slice(0, rewindTo) + more;
    }, ""),
  ).toBe("newnew");
  client.close();
});

test("a trimmed log begins with what the trimmed events amounted to", async () => {
  const world = new World();
  const events = [
    { offset: 40, type: "snapshot", at: 1, data: { text: "so far" } },
    { offset: 41, type: "text", at: 1, data: ", so good" },
  ];
  world.logs.set("task_x", { epoch: 1, events });
  const client = world.connect();
  const task = client.follow("task_x");
  const leave = task.subscribe(() => {});
  await world.open();
  await world.flow();
  world.clock.paint();
  expect(task.snapshot).toMatchObject({ text: "so far, so good", offset: 41 });
  leave();
  client.close();
});

test.each(each)(
  "what was kept of a log at any place is gone on from, also where its text is taken back later (seed %i)",
  async (seed) => {
    const { log, text } = story(random(seed), 3);
    for (let offset = 0; offset < log.events.length; offset++) {
      // What stood then.
      let kept = "";
      for (const event of log.events.slice(0, offset + 1)) {
        if (event.type === "text") kept += event.data;
        if (event.type === "rewind") kept = "";
      }
      const world = new World(random(seed));
      world.logs.set("task_x", log);
      const client = world.connect();
      const task = client.follow("task_x", { from: { epoch: log.epoch, offset, text: kept } });
      expect(task.snapshot.text).toBe(kept);
      const result = task.result();
      await world.open();
      expect((await world.finish(result)).text).toBe(text);
      client.close();
    }
  },
);

test("an iterator that is far behind reads on from the server, and misses nothing", async () => {
  const world = new World();
  const events = Array.from({ length: 3_000 }, (_, offset) => ({ offset, type: "data", at: 1, data: offset }));
  world.logs.set("task_x", {
    epoch: 1,
    events: [...events, { offset: 3_000, type: "end", at: 1, data: { state: "done" } }],
  });
  const client = world.connect();
  const iterator = client.follow("task_x").events();
  const first = iterator.next();
  await world.open();
  while (world.socket.deliver());
  const seen = [(await first).value as LogEvent];
  for await (const event of iterator) seen.push(event);
  expect(seen.map(({ offset }) => offset)).toEqual(Array.from({ length: 3_001 }, (_, offset) => offset));
  expect(world.requests.some(({ path }) => path === "/v1/tasks/task_x/events")).toBe(true);
  client.close();
});
