// The web app's budgets, measured in Chromium and printed beside their bars. Usage: node bench.mjs URL FOLDER [part of a name],
// where the server has the scripted backend. TIDEWIRE_BENCH_SECONDS is the length of each run with answers (20),
// TIDEWIRE_BENCH_MINUTES that of the heap's (3).
import { base, finish, scripted, test } from "./harness.mjs";
import { at, cold, follow, heap, idle, long, slope, typing } from "./bench-parts.mjs";

const SECONDS = Number(process.env.TIDEWIRE_BENCH_SECONDS ?? 20);
const MINUTES = Number(process.env.TIDEWIRE_BENCH_MINUTES ?? 3);
// An answer's text as the scripted backend splits it: a token ends with a space, so that one of these comes at once.
const block = Array.from({ length: 10 }, (_, n) => `**Block-${n}**-${"of-the-sea-".repeat(7)}end.\n\n`).join("");
const words = (count) => Array.from({ length: count }, (_, n) => (n % 40 === 39 ? "**bold**\n\n" : `word${n}`)).join(" ");
const answer = (before, seconds) => `${Array.from({ length: before / 1000 }, () => block).join(" ")} ${words(seconds * 100)}`;

let missed = 0;
/** One figure beside its bar; `bar` is the most it may be. */
function row(what, value, unit, bar) {
  const over = bar !== undefined && !(value <= bar);
  if (over) missed += 1;
  const told = Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 2 : 1);
  console.log(`${what.padEnd(58)} ${`${told} ${unit}`.padStart(14)}   ${bar === undefined ? "–".padEnd(14) : `bar ${bar} ${unit}`.padEnd(14)} ${bar === undefined ? "" : over ? "OVER" : "ok"}`);
}

if (!scripted) throw new Error("the budgets are measured with the scripted backend");

for (const [page, place, ready, bar] of [["chat", "", ".empty", 1.5], ["operations", "#/operations", "main", 1.8]]) {
  await test(`cold load of ${page}`, async (context) => {
    const loads = [];
    for (let n = 0; n < 5; n += 1) loads.push(await cold(context, place, ready));
    const middle = (name) => at(loads.map((load) => load[name]), 0.5);
    row("LCP, cold, 4x slower CPU, 10 Mbit/s, median of 5", middle("lcp") / 1000, "s", bar);
    row("layout shift of that", middle("shift"), "", 0.02);
    row("requests of that", middle("requests"), "");
  });
}

for (const slower of [1, 4]) {
  for (const before of [0, 40_000]) {
    const name = `4 panes at 100 tokens/s${before ? `, ${before.toLocaleString("en-US")} characters in each` : ""}${slower > 1 ? `, ${slower}x slower CPU` : ""}`;
    await test(name, async (context) => {
      const page = await follow(context, { panes: 4, text: answer(before, SECONDS + 40), before, slower });
      const seen = await typing(page, SECONDS);
      const hard = slower > 1;
      row("INP p98 (typing while they come)", seen.inp, "ms", hard ? 200 : 80);
      row("event p98 (of those over 16 ms)", seen.event, "ms");
      row("frames a second", seen.fps, "");
      // The bars of frames are set for this machine's own speed.
      row("frame gaps over 50 ms", seen.gaps, "%", hard ? undefined : 1);
      row("long tasks", seen.tasks, "", hard ? undefined : 0);
      row("token arrival to paint, p95", seen.paint, "ms", hard ? undefined : 50);
      row("layout shift", seen.shift, "", 0.02);
      row("tokens a second that came, of 400", seen.tokens, "");
    });
  }
}

await test("a thread of 10,000 messages", async (context) => {
  const page = await long(context, 5_000);
  row("heap", (await heap(page)) / 1e6, "MB", 40);
  row("DOM nodes", await page.evaluate(() => document.querySelectorAll("*").length), "", 1_500);
  for (let n = 0; n < 10; n += 1) await page.getByRole("button", { name: /^Show \d+ earlier$/ }).click();
  row("DOM nodes after ten times Show earlier", await page.evaluate(() => document.querySelectorAll("*").length), "", 1_500);
});

await test("idle", async (context) => {
  const { frames, requests, seconds } = await idle(context, 30);
  row(`frames on the wire in ${seconds} s of an unchanged thread`, frames, "", 0);
  row(`requests that began in that time (${requests.join(", ") || "none"})`, requests.length, "");
});

await test(`heap over ${MINUTES} minutes of streaming`, async (context) => {
  const { perTen, samples, last } = await slope(context, MINUTES, `${words(800)}`);
  row(`heap slope, answers of 8 s one after another (${samples} samples)`, perTen, "MB/10 min", 1);
  row("heap at its end", last / 1e6, "MB");
});

console.log(missed ? `${missed} over their bars` : "all within their bars");
console.log(`measured at ${base}`);
await finish();
