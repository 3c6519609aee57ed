// Answers side by side, doubtful words, and what another device sees of both.
// Usage: node beside.mjs URL FOLDER [part of a test's name]. TIDEWIRE_TEST_PROGRAM names the program, for servers of its own.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { PACE, finish, scripted, until } from "./harness.mjs";
import { LOOKS, axe, open, record, sameText, say, small, test } from "./app-harness.mjs";
import { doubtful } from "./doubtful.mjs";
import { ownServer, program } from "./own-server.mjs";

const STORY = "Tell me a long story about the sea, in many short paragraphs, with a list.";
const pane = (page, at) => page.locator(".pane").nth(at);
const options = (page) => page.getByRole("button", { name: /^How to ask/ });

async function ask(page, count) {
  await options(page).click();
  for (let n = 1; n < count; n += 1) await page.getByRole("button", { name: "Add an answer" }).click();
  await page.keyboard.press("Escape");
}

/** Waits for the answers to stand so, in the order of the panes. */
const stand = (page, states) => page.waitForFunction((states) => {
  const now = [...document.querySelectorAll(".pane .answer")].map(({ dataset }) => dataset.state);
  return now.length === states.length && now.every((state, at) => states[at].split(" ").includes(state));
}, states);

async function fits(page, what) {
  await axe(page, what);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${what}: the page is ${wide} px too wide`);
  assert.deepEqual(await small(page), [], `${what}: targets are 24 px or more`);
}

if (scripted) await test("answers_side_by_side_are_tasks_of_their_own_and_one_becomes_the_history", async (context) => {
  const page = await open(context, { pace: (n) => (n === 3 ? PACE.endless : { text: `Answer number ${n}. `.repeat(20), delay_ms: 10 }) });
  await ask(page, 4);
  await say(page, "which?");
  await stand(page, Array(4).fill("queued running done"));
  const place = new URL(page.url()).hash;
  // Another device: nothing but the server is between the two.
  const device = await context.browser().newContext();
  const phone = await open(device, { place });
  const tab = await open(context, { place });
  await stand(tab, Array(4).fill("queued running done"));
  await stand(phone, Array(4).fill("queued running done"));
  await pane(tab, 3).getByRole("button", { name: "Stop" }).click();
  await stand(page, ["done", "done", "done", "stopped"]);
  const tasks = await page.locator(".pane .answer").evaluateAll((all) => all.map(({ dataset }) => dataset.task));
  const records = await Promise.all(tasks.map((task) => record(task)));
  assert.equal(new Set(records.map(({ lane }) => lane)).size, 4, "each runs in a lane of its own");
  await until(() => page.evaluate(() => [...document.querySelectorAll(".pane")].map((one) => /first token .*\d+ in, \d+ out/s.test(one.innerText))), [true, true, true, true]);
  await page.reload();
  await stand(page, ["done", "done", "done", "stopped"]);
  const text = await sameText(page, pane(page, 1).locator(".answer"));
  await pane(page, 1).getByRole("button", { name: "Go on with this one" }).click();
  await tab.getByText("One of 4 answers").waitFor();
  await page.reload();
  await page.getByText("One of 4 answers").waitFor();
  await ask(page, 1);
  await options(page).click();
  await page.getByRole("button", { name: "Only one" }).click();
  await page.keyboard.press("Escape");
  page.pace = PACE.short;
  await say(page, "and then?");
  await page.locator(".turn").nth(1).locator('.answer[data-state="done"]').waitFor();
  const { input } = page.seen.up.findLast(({ op }) => op === "submit").task;
  assert.deepEqual(input.messages, [{ role: "user", content: "which?" }, { role: "assistant", content: text }, { role: "user", content: "and then?" }]);
  // It hears of the message without a reload, and so of which answer was gone on with.
  await phone.locator(".turn").nth(1).locator('.answer[data-state="done"]').waitFor();
  await until(() => phone.locator(".turn .answer").first().getAttribute("data-task"), tasks[1]);
  await page.getByRole("button", { name: "Show all 4" }).click();
  await stand(page, ["done", "done", "done", "stopped"]);
  await device.close();
});

if (scripted) await test("a_failed_answer_among_several_is_tried_again_by_itself", async (context) => {
  const page = await open(context, { pace: (n) => (n === 1 ? { tokens: 40, delay_ms: 5, fail_at: 20, fault: "invalid" } : PACE.short) });
  await ask(page, 2);
  await say(page, STORY);
  await stand(page, ["done", "failed"]);
  await pane(page, 1).getByRole("button", { name: "Retry" }).click();
  await stand(page, ["done", "done"]);
  assert.equal(page.submits, 3);
  await pane(page, 1).getByRole("button", { name: "Earlier version" }).click();
  await stand(page, ["done", "failed"]);
  await page.reload();
  await stand(page, ["done", "done"]);
  await until(() => pane(page, 1).locator(".branches").textContent(), /2 of 2/);
});

if (program && scripted) {
  const TEXT = await readFile(new URL("answer.md", import.meta.url), "utf8");
  const model = await doubtful();
  const server = await ownServer({ more: `[[deployment]]\nname = "doubtful"\nbackend = "openai"\nurl = "${model.url}"\n` });
  for (const [name, look] of Object.entries(LOOKS)) {
    await test(`panes_and_doubtful_words_are_sound_and_shown_${name}`, async (context) => {
      const shot = (page, what) => page.screenshot({ path: `${process.argv[3]}/app-${name}-${what}.png` });
      const page = await open(context, { at: server.url, pace: (n) => ({ text: TEXT, delay_ms: 5 + 2 * n }) });
      page.model = "scripted";
      await ask(page, 4);
      await options(page).click();
      await fits(page, "options");
      await page.keyboard.press("Escape");
      await say(page, "Why is the sea salty, and how salty is it?");
      await page.waitForFunction(() => [...document.querySelectorAll(".pane .prose")].filter(({ textContent }) => textContent.length > 250).length === 4);
      await shot(page, "panes");
      await stand(page, Array(4).fill("done"));
      await fits(page, "panes");
      if (name === "phone") {
        await page.getByRole("button", { name: /^3 / }).click();
        await page.waitForFunction(() => { const { left, right } = document.querySelectorAll(".pane")[2].getBoundingClientRect(); return left >= 0 && right <= innerWidth; });
      }
    }, look);
    await test(`doubtful_words_are_marked_once_the_answer_is_there_${name}`, async (context) => {
      const page = await open(context, { at: server.url });
      await page.locator("#model").selectOption("doubtful");
      await options(page).click();
      await page.getByLabel("Show how sure the model is").check();
      await page.keyboard.press("Escape");
      await say(page, "Why is the sea salty?");
      await page.getByText("6 doubtful words").waitFor();
      await until(() => page.locator(".figures .sure").innerText(), /^High confidence/);
      const marked = () => page.evaluate(() => [...CSS.highlights.get("doubt") ?? []].map(({ startContainer, startOffset, endOffset }) => startContainer.data.slice(startOffset, endOffset)));
      assert.deepEqual(await marked(), ["salty", "salts", "rocks", "35", "eight", "340"]);
      const at = await page.evaluate(() => {
        const found = document.createRange();
        const mark = [...CSS.highlights.get("doubt")][2];
        found.setStart(mark.startContainer, mark.startOffset);
        found.setEnd(mark.endContainer, mark.endOffset);
        const { x, y, width, height } = found.getBoundingClientRect();
        return { x: x + width / 2, y: y + height / 2 };
      });
      if (name === "phone") await page.touchscreen.tap(at.x, at.y);
      else await page.mouse.move(at.x, at.y);
      await until(() => page.getByRole("tooltip").innerText(), "rocks 20 % or “other” 15 %");
      await page.screenshot({ path: `${process.argv[3]}/app-${name}-marks.png` });
      await page.keyboard.press("Escape");
      await page.waitForSelector(".tip", { state: "detached" });
      await page.getByText("6 doubtful words").click();
      await fits(page, "marks");
      if (name !== "light") return;
      // The wish is kept, and taken back at once.
      await page.reload();
      await page.getByText("6 doubtful words").waitFor();
      await options(page).click();
      await page.getByLabel("Show how sure the model is").uncheck();
      await page.waitForFunction(() => CSS.highlights.get("doubt").size === 0);
      await page.keyboard.press("Escape");
      await say(page, "Again");
      await page.locator(".turn").nth(1).locator('.answer[data-state="done"]').waitFor();
      const asked = page.seen.up.filter(({ op }) => op === "submit").map(({ task }) => task.input.logprobs);
      assert.deepEqual(asked, [true, undefined]);
    }, look);
  }
  await server.end();
  await model.end();
}

await finish();
