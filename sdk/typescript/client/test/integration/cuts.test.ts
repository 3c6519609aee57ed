// What a phone does to a connection, and a crash to a server: nothing is lost, and nothing comes twice.
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { TidewireError, type Client, type Clock, type LogEvent } from "@tidewire/client";
import { between, random, seed } from "../random.js";
import { Proxy } from "./proxy.js";
import { client, reach, script, Server } from "./server.js";

/** The client's waits, twenty times shorter: they are for people and networks. */
const HASTE = 20;
const hasty: Clock = {
  now: () => performance.now() * HASTE,
  random: Math.random,
  after(ms, run) {
    const timer = setTimeout(run, ms / HASTE);
    return () => clearTimeout(timer);
  },
  frame: (run) => void setTimeout(run, 1),
};

let server: Server;
let proxy: Proxy;
const clients: Client[] = [];
const open = (...[url, options]: Parameters<typeof client>) => {
  const made = client(url, { ...options, environment: { clock: hasty, ...options?.environment } });
  clients.push(made);
  return made;
};

beforeAll(async () => {
  console.log(`seed ${seed} (TIDEWIRE_TEST_SEED sets it)`);
  server = await Server.start();
  proxy = await Proxy.before(server.url);
});
afterEach(() => {
  for (const made of clients.splice(0)) made.close();
  proxy.flow();
  proxy.refuseUpgrades = false;
});
afterAll(async () => {
  await proxy.end();
  await server.end();
});

for (const transport of ["websocket", "sse"] as const) {
  test(`three answers over ${transport} through a connection that is cut again and again are byte-equal`, async () => {
    const chance = random(seed);
    const one = open(proxy.url, { transport });
    let cuts = 0;
    const cutting = new AbortController();
    const cutter = (async () => {
      while (!cutting.signal.aborted) {
        proxy.cutAfter(between(chance, 0, 6_000));
        await Promise.race([wait(between(chance, 50, 250)), aborted(cutting.signal)]);
        proxy.cut();
        cuts += 1;
      }
    })();
    // Submits are cut as well: only their keys keep them from becoming two tasks.
    const tasks = await Promise.all(
      [1, 2, 3].map((n) =>
        one.submit({ input: script({ tokens: 150, delay_ms: 8, seed: `é${n}` }), lane: `${transport}${n}` }),
      ),
    );
    const events: LogEvent[] = [];
    const reading = (async () => {
      for await (const event of tasks[0]!.events()) events.push(event);
    })();
    const results = await Promise.all(tasks.map((task) => task.result()));
    await reading;
    cutting.abort();
    await cutter;
    proxy.cutAfter(Infinity);
    for (const [n, { text, status }] of results.entries()) {
      expect(status).toBe("done");
      expect(text).toBe(await server.text(tasks[n]!.id));
    }
    let next = 0;
    for (const { offset, count } of events) {
      expect(offset).toBe(next);
      next = offset + count;
    }
    expect(
      events
        .filter(({ kind }) => kind === "text")
        .map(({ data }) => data)
        .join(""),
    ).toBe(results[0]!.text);
    for (const n of [1, 2, 3]) expect((await one.tasks({ lane: `${transport}${n}` })).tasks).toHaveLength(1);
    expect(cuts).toBeGreaterThan(3);
  });
}

test("a server that is killed in the middle of an answer and comes back goes on with it", async () => {
  const own = await Server.start();
  try {
    for (const transport of ["websocket", "sse"] as const) {
      const one = open(own.url, { transport });
      const task = await one.submit({ input: script({ tokens: 300, delay_ms: 5 }) });
      const reader = (async () => {
        let text = "";
        for await (const part of task.text()) text = text.slice(0, part.rewindTo) + part.text;
        return text;
      })();
      await reach(task, () => task.snapshot.text.length > 100);
      await own.kill();
      const late = one.submit({ input: script({ tokens: 3, delay_ms: 1 }) });
      await reach(one.status, () => one.status.snapshot.state !== "open");
      await own.again();
      const { status, text } = await task.result();
      expect(status).toBe("done");
      expect(text).toBe(await own.text(task.id));
      expect(await reader).toBe(text);
      expect((await (await late).result()).text).toBe("w0 w1 w2 ");
    }
  } finally {
    await own.end();
  }
});

test("where upgrades are refused, server-sent events take over", async () => {
  proxy.refuseUpgrades = true;
  const one = open(proxy.url);
  const { text } = await (await one.submit({ input: script({ tokens: 20, delay_ms: 2 }) })).result();
  expect(text.endsWith("w19 ")).toBe(true);
  await reach(one.status, () => one.status.snapshot.transport === "sse" && one.status.snapshot.state === "open");
});

test("many logs over server-sent events are all read over one response, as a browser has few connections", async () => {
  const responses = new Set<Response>();
  let most = 0;
  const counted: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    if (response.headers.get("content-type") !== "text/event-stream") return response;
    most = Math.max(most, responses.add(response).size);
    const closed = () => void responses.delete(response);
    init!.signal!.addEventListener("abort", closed);
    return new Response(response.body!.pipeThrough(new TransformStream({ flush: closed })), response);
  };
  const one = open(server.url, { transport: "sse", environment: { fetch: counted } });
  const many = Array.from({ length: 50 }, (_, n) => ({ input: script({ tokens: 20, delay_ms: 2, seed: `s${n}` }) }));
  const tasks = await Promise.all(many.map((submission) => one.submit(submission)));
  const results = await Promise.all(tasks.map((task) => task.result()));
  for (const [n, { text }] of results.entries()) expect(text.endsWith(`s${n}19 `)).toBe(true);
  expect(most).toBe(1);
});

for (const transport of ["websocket", "sse"] as const) {
  test(`a half-open connection over ${transport} is given up and the answer goes on over another one`, async () => {
    const one = open(proxy.url, { transport });
    const task = await one.submit({ input: script({ tokens: 200, delay_ms: 5 }) });
    const result = task.result();
    await reach(task, () => task.snapshot.text.length > 50);
    proxy.stall();
    await reach(one.status, () => one.status.snapshot.state !== "open");
    proxy.flow();
    expect((await result).text).toBe(await server.text(task.id));
  });
}

test("a page that comes back with what it had kept goes on from there", async () => {
  const one = open(server.url);
  const task = await one.submit({ input: script({ tokens: 100, delay_ms: 5 }) });
  await reach(task, () => task.snapshot.text.length > 50);
  const kept = JSON.parse(JSON.stringify(task.snapshot)) as typeof task.snapshot;
  one.close();
  const two = open(server.url);
  const seen = two.follow(task.id, { from: kept });
  expect(seen.snapshot.text).toBe(kept.text);
  expect((await seen.result()).text).toBe(await server.text(task.id));
  // What was kept of an ended log: it is read again, where it says how it ended.
  const three = open(server.url).follow(task.id, { from: seen.snapshot });
  expect((await three.result()).text).toBe(seen.snapshot.text);
});

test("a key opens the socket by a ticket, and a wrong or revoked one closes the client with the reason", async () => {
  const admin = "an operator's key, as long as such keys are";
  const guarded = await Server.start({ TIDEWIRE_ADMIN_KEY: admin });
  try {
    const operator = open(guarded.url, { key: admin });
    const made = await operator.request<{ secret: string; key: { id: string } }>("POST", "v1/admin/keys", {
      body: { name: "user" },
    });
    const user = made.secret;
    for (const transport of ["websocket", "sse", "auto"] as const) {
      for (const key of [undefined, "tw_wrong"]) {
        const wrong = open(guarded.url, { transport, ...(key && { key }) });
        await expect(wrong.submit({ input: "hi" })).rejects.toMatchObject({ code: "unauthorized", status: 401 });
        await reach(wrong.status, () => wrong.status.snapshot.state === "closed");
        expect(wrong.status.snapshot.error).toBeInstanceOf(TidewireError);
        expect(wrong.status.snapshot.error?.requestId).toMatch(/^[0-9a-f]+$/);
      }
      const right = open(guarded.url, { transport, key: async () => user });
      expect((await (await right.submit({ input: script({ tokens: 3, delay_ms: 1 }) })).result()).text).toBe(
        "w0 w1 w2 ",
      );
    }
    const right = open(guarded.url, { key: user });
    const task = await right.submit({ input: script({ tokens: 5_000, delay_ms: 5 }) });
    await operator.request("POST", `v1/admin/keys/${made.key.id}/revoke`);
    await expect(task.result()).rejects.toMatchObject({ code: "key_revoked" });
  } finally {
    await guarded.end();
  }
});

const wait = (ms: number) => new Promise((done) => setTimeout(done, ms));
const aborted = (signal: AbortSignal) => new Promise((done) => signal.addEventListener("abort", done));
