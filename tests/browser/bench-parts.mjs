// How the web app is measured: a page as its users have it (nothing stands between it and the server), and what the browser tells.
import { base, model } from "./harness.mjs";

/** The value below which this share of them is. */
export const at = (list, share) => list.toSorted((one, other) => one - other)[Math.ceil(list.length * share) - 1] ?? 0;

/** In the page, before it: tells the scripted backend how to answer, and notes what happens. */
function watch() {
  const seen = (globalThis.seen = { gaps: [], tasks: [], inputs: new Map(), events: [], paints: [], shift: 0, tokens: 0 });
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function tell(text) {
    const frame = JSON.parse(text);
    if (frame.op === "submit") frame.task.input.script = JSON.parse(sessionStorage.getItem("script"));
    send.call(this, JSON.stringify(frame));
  };
  // From the socket's message with text in it to after the frame that painted a change of an answer.
  let arrived = [];
  let changed = false;
  const painted = new MessageChannel();
  painted.port1.onmessage = ({ data: until }) => {
    if (!changed) return;
    const now = performance.now();
    seen.paints.push(...arrived.slice(0, until).map((then) => now - then));
    arrived = arrived.slice(until);
    changed = false;
  };
  const { set, get } = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
  Object.defineProperty(WebSocket.prototype, "onmessage", {
    get,
    set(listener) {
      set.call(this, listener && ((event) => {
        const frame = event.data;
        listener.call(this, event);
        const texts = frame.includes('"text"') ? (JSON.parse(frame).events ?? []).filter(({ type }) => type === "text") : [];
        if (texts.length === 0) return;
        for (const { count = 1 } of texts) seen.tokens += count;
        arrived.push(event.timeStamp);
        if (arrived.length > 1) return;
        const next = () => requestAnimationFrame(() => {
          painted.port2.postMessage(arrived.length);
          setTimeout(() => { if (arrived.length) next(); });
        });
        next();
      }));
    },
  });
  new MutationObserver((all) => {
    changed ||= all.some(({ target }) => (target.nodeType === 3 ? target.parentElement : target)?.closest?.(".prose"));
  }).observe(document, { childList: true, characterData: true, subtree: true });
  let last = 0;
  const frame = (now) => {
    if (last) seen.gaps.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  const hear = (type, each, more = {}) => new PerformanceObserver((list) => list.getEntries().forEach(each)).observe({ type, ...more });
  hear("longtask", ({ duration }) => seen.tasks.push(duration));
  hear("layout-shift", ({ value, hadRecentInput }) => { if (!hadRecentInput) seen.shift += value; }, { buffered: true });
  hear("event", ({ duration, interactionId }) => {
    seen.events.push(duration);
    if (interactionId) seen.inputs.set(interactionId, Math.max(duration, seen.inputs.get(interactionId) ?? 0));
  }, { durationThreshold: 16 });
}

async function open(context, { script, place = "" }) {
  const page = await context.newPage();
  await page.addInitScript((told) => sessionStorage.setItem("script", told), JSON.stringify(script));
  await page.addInitScript(watch);
  await page.goto(`${base}${place}`);
  await page.waitForSelector('#link[data-state="open"]');
  return page;
}

async function ask(page, text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
}

/** One load with nothing kept, as a slow phone has it. */
export async function cold(context, place, ready) {
  const page = await context.newPage();
  const client = await context.newCDPSession(page);
  await client.send("Emulation.setCPUThrottlingRate", { rate: 4 });
  await client.send("Network.enable");
  await client.send("Network.setCacheDisabled", { cacheDisabled: true });
  await client.send("Network.emulateNetworkConditions", { offline: false, latency: 20, downloadThroughput: 1_250_000, uploadThroughput: 1_250_000 });
  let requests = 0;
  client.on("Network.requestWillBeSent", () => { requests += 1; });
  await page.goto(`${base}${place}`);
  await page.waitForSelector(ready);
  await page.waitForTimeout(1_000);
  const found = await page.evaluate(() => new Promise((resolve) => {
    let shift = 0;
    new PerformanceObserver((list) => { for (const { value } of list.getEntries()) shift += value; }).observe({ type: "layout-shift", buffered: true });
    new PerformanceObserver((list) => setTimeout(() => resolve({ lcp: list.getEntries().at(-1).startTime, shift }))).observe({ type: "largest-contentful-paint", buffered: true });
  }));
  await page.close();
  return { ...found, requests };
}

/** A page with so many answers side by side on their way, each with so many characters already. */
export async function follow(context, { panes, text, before, slower }) {
  const page = await open(context, { script: { text, delay_ms: 10 } });
  await page.getByRole("button", { name: /^How to ask/ }).click();
  for (let n = 1; n < panes; n += 1) await page.getByRole("button", { name: "Add an answer" }).click();
  await page.keyboard.press("Escape");
  await ask(page, "Long answers, please");
  await page.waitForFunction(([panes, before]) => {
    const found = [...document.querySelectorAll(".pane .prose")];
    return found.length === panes && found.every(({ textContent }) => textContent.length > before * 0.9);
  }, [panes, before]);
  const client = await context.newCDPSession(page);
  await client.send("Emulation.setCPUThrottlingRate", { rate: slower });
  await page.waitForTimeout(2_000);
  return page;
}

/** Types while the answers come, and tells what the browser saw. */
export async function typing(page, seconds) {
  await page.evaluate(() => {
    Object.assign(globalThis.seen, { gaps: [], tasks: [], events: [], paints: [], shift: 0, tokens: 0 });
    globalThis.seen.inputs.clear();
    globalThis.before = performance.interactionCount;
    globalThis.began = performance.now();
  });
  await page.focus("#prompt");
  const until = Date.now() + seconds * 1000;
  while (Date.now() < until) {
    await page.keyboard.press("a", { delay: 30 });
    await page.waitForTimeout(40);
  }
  const seen = await page.evaluate(() => ({
    ...globalThis.seen,
    inputs: [...globalThis.seen.inputs.values()],
    interactions: performance.interactionCount - globalThis.before,
    ms: performance.now() - globalThis.began,
    live: document.querySelectorAll('.pane .answer[data-state="running"]').length,
  }));
  if (seen.live < 4) throw new Error(`only ${seen.live} answers still came`);
  // The browser tells of no event under 16 ms; those count as that.
  const inputs = [...seen.inputs, ...Array(Math.max(0, seen.interactions - seen.inputs.length)).fill(16)];
  return {
    inp: at(inputs, 0.98),
    event: at(seen.events, 0.98),
    fps: (1000 * seen.gaps.length) / seen.ms,
    gaps: (100 * seen.gaps.filter((gap) => gap > 50).length) / seen.gaps.length,
    tasks: seen.tasks.length,
    paint: at(seen.paints, 0.95),
    shift: seen.shift,
    tokens: (1000 * seen.tokens) / seen.ms,
  };
}

/** Bytes that are in use after the browser has collected what is not. */
export async function heap(page) {
  const client = await page.context().newCDPSession(page);
  for (let n = 0; n < 2; n += 1) await client.send("HeapProfiler.collectGarbage");
  const { usedSize } = await client.send("Runtime.getHeapUsage");
  await client.detach();
  return usedSize;
}

/** A page that shows a thread of so many turns, which it makes. */
export async function long(context, turns) {
  const lane = `chat-bench-${Date.now()}`;
  let last;
  // One after the other, as people write: the server lists them by when they came.
  for (let n = 0; n < turns; n += 1) {
    const task = {
      input: { messages: [{ role: "user", content: `Message ${n}` }], script: { text: `Answer **${n}** of many, in a few words.`, delay_ms: 0 } },
      model, lane, metadata: { app: "chat", turn: `t${n}`, title: "Many", prompt: `Message ${n}`, ...(n ? { after: `t${n - 1}` } : {}) },
    };
    const response = await fetch(`${base}v1/tasks`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(task) });
    if (!response.ok) throw new Error(await response.text());
    last = (await response.json()).id;
  }
  await fetch(`${base}v1/tasks/${last}/text?wait_ms=60000`);
  const page = await open(context, { place: `#/chat/${lane}`, script: {} });
  await page.getByText(`Message ${turns - 1}`).first().waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll(".turn")].every((turn) => turn.querySelector(".figures")));
  await page.waitForTimeout(1_000);
  return page;
}

/** What goes over the wire while nothing changes. */
export async function idle(context, seconds) {
  const page = await open(context, { script: { tokens: 20, delay_ms: 5 } });
  await ask(page, "And then nothing more");
  await page.locator('.answer[data-state="done"]').waitFor();
  await page.waitForTimeout(3_000);
  const client = await context.newCDPSession(page);
  await client.send("Network.enable");
  let frames = 0;
  const requests = [];
  // The heartbeat is no value.
  const count = ({ response }) => { if (!/^\{"op":"p[io]ng"/.test(response.payloadData)) frames += 1; };
  client.on("Network.webSocketFrameReceived", count);
  client.on("Network.webSocketFrameSent", count);
  client.on("Network.requestWillBeSent", ({ request }) => requests.push(`${request.method} ${new URL(request.url).pathname}`));
  await page.waitForTimeout(seconds * 1000);
  return { frames, requests, seconds };
}

// The client keeps its last answers, the browser its last entries of what it measured, and both compile what runs often: that
// ends, and before it does no slope says anything.
const WARM_UP = 150;

/** Asks one new chat after the other, and tells how what the page holds grows: in MB over ten minutes, by a line through all samples. */
export async function slope(context, minutes, text) {
  const page = await open(context, { script: { text, delay_ms: 10 } });
  const once = async (n) => {
    await page.goto(`${base}#/chat`);
    await page.waitForSelector(".empty");
    await ask(page, `Question ${n}`);
    await page.locator('.answer[data-state="done"]').waitFor();
  };
  const pace = (delay) => page.evaluate((script) => sessionStorage.setItem("script", script), JSON.stringify({ text, delay_ms: delay }));
  await pace(0);
  for (let n = 0; n < WARM_UP; n += 1) await once(n);
  await pace(10);
  const samples = [];
  const began = Date.now();
  for (let n = WARM_UP; Date.now() - began < minutes * 60_000; n += 1) {
    await once(n);
    // What the measuring itself keeps is not the page's.
    await page.evaluate(() => { Object.assign(globalThis.seen, { gaps: [], tasks: [], events: [], paints: [] }); globalThis.seen.inputs.clear(); });
    samples.push([(Date.now() - began) / 600_000, await heap(page)]);
  }
  const mean = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const [x, y] = [mean(samples.map(([one]) => one)), mean(samples.map(([, one]) => one))];
  const over = samples.reduce((sum, [one, other]) => sum + (one - x) * (other - y), 0);
  const under = samples.reduce((sum, [one]) => sum + (one - x) ** 2, 0);
  return { perTen: over / under / 1e6, samples: samples.length, last: samples.at(-1)[1] };
}
