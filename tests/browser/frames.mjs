// How smooth the app is while an answer comes: frames, long tasks, inputs and shifts, beside their bars.
// 40,000 characters are there already, then 100 tokens come each second. Usage: node frames.mjs URL FOLDER
import { base, finish, scripted, test } from "./harness.mjs";
import { open, reach, say } from "./app-harness.mjs";

const SECONDS = Number(process.env.TIDEWIRE_TEST_SECONDS ?? 10);
// A token ends with a space: so one of these is 1,000 characters of paragraphs at once.
const block = Array.from({ length: 10 }, (_, n) => `**Block-${n}**-${"of-the-sea-".repeat(7)}end.\n\n`).join("");
const TEXT = `${Array.from({ length: 40 }, () => block).join(" ")} ${Array.from({ length: SECONDS * 100 + 200 }, (_, n) => (n % 40 === 39 ? "**bold**\n\n" : `word${n}`)).join(" ")}`;

if (scripted) await test("frames", async (context) => {
  const page = await open(context, { pace: { text: TEXT, delay_ms: 10 } });
  await say(page, "A long answer, please");
  await reach(page, 0, ["running"], 38_000);
  await page.evaluate(() => {
    const seen = (globalThis.seen = { gaps: [], tasks: [], inputs: [], shift: 0 });
    let last = performance.now();
    const frame = (now) => { seen.gaps.push(now - last); last = now; seen.frame = requestAnimationFrame(frame); };
    requestAnimationFrame((now) => { last = now; requestAnimationFrame(frame); });
    new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
    new PerformanceObserver((list) => seen.inputs.push(...list.getEntries().filter(({ interactionId }) => interactionId).map(({ duration }) => duration))).observe({ type: "event", durationThreshold: 16 });
    new PerformanceObserver((list) => { for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) seen.shift += value; }).observe({ type: "layout-shift" });
  });
  const until = Date.now() + SECONDS * 1000;
  while (Date.now() < until) await page.locator("#prompt").press("a", { delay: 60 });
  const seen = await page.evaluate(() => ({ ...globalThis.seen, nodes: document.querySelectorAll("*").length }));
  const at = (list, share) => list.toSorted((one, other) => one - other)[Math.floor((list.length - 1) * share)] ?? 0;
  const slow = (100 * seen.gaps.filter((gap) => gap > 50).length) / seen.gaps.length;
  const mean = seen.gaps.reduce((sum, gap) => sum + gap, 0) / seen.gaps.length;
  const row = (what, value, bar) => console.log(`${what.padEnd(34)} ${value.padStart(10)}   bar ${bar}`);
  row("frames a second", (1000 / mean).toFixed(1), "–");
  row("frame gaps over 50 ms", `${slow.toFixed(1)} %`, "under 1 %");
  row("long tasks", `${seen.tasks.length}`, "0");
  row("input to paint, p98 (over 16 ms)", `${at(seen.inputs, 0.98).toFixed(0)} ms`, "80 ms");
  row("layout shift", seen.shift.toFixed(4), "0.02");
  row("DOM nodes", `${seen.nodes}`, "–");
});
await test("cold", async (context) => {
  const page = await open(context);
  const client = await context.newCDPSession(page);
  await client.send("Emulation.setCPUThrottlingRate", { rate: 4 });
  await client.send("Network.enable");
  await client.send("Network.setCacheDisabled", { cacheDisabled: true });
  await client.send("Network.emulateNetworkConditions", { offline: false, latency: 20, downloadThroughput: 1_250_000, uploadThroughput: 1_250_000 });
  await page.goto("about:blank");
  await page.goto(base);
  await page.waitForSelector(".empty");
  const lcp = await page.evaluate(() => new Promise((resolve) => new PerformanceObserver((list) => resolve(list.getEntries().at(-1).startTime)).observe({ type: "largest-contentful-paint", buffered: true })));
  console.log(`${"LCP cold, 4x slower CPU, 10 Mbit/s".padEnd(34)} ${`${(lcp / 1000).toFixed(2)} s`.padStart(10)}   bar 1.5 s`);
});

await finish();
