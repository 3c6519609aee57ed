// The web app in a real browser: what a person sees, over reloads, kills, stops and several tabs.
// Usage: node app.mjs URL FOLDER [part of a test's name]. TIDEWIRE_TEST_PROGRAM names the program, for tests that kill it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { PACE, base, finish, scripted, until } from "./harness.mjs";
import { LOOKS, axe, open, random, reach, record, sameText, say, small, taskOf, test } from "./app-harness.mjs";
import { ownServer, program } from "./own-server.mjs";

const STORY = "Tell me a long story about the sea, in many short paragraphs, with a list.";
const DONE = ["done"];
const LIVE = ["sending", "queued", "running"];
const long = process.env.TIDEWIRE_TEST_LONG === "1";
const seed = Number(process.env.TIDEWIRE_TEST_SEED ?? 20261123);

await test("the_suggestion_is_answered", async (context) => {
  const page = await open(context);
  await page.getByRole("button", { name: "Why is the sea salty?" }).click();
  const answer = await reach(page, 0, DONE);
  await sameText(page, answer);
  await until(() => answer.locator(".figures").innerText(), /first token .*\d+ in, \d+ out.*task_/s);
  await until(() => page.textContent("[role=status]"), "The answer is complete.");
  await until(() => page.url(), /#\/chat\/chat-/);
});

await test("reloads_in_mid_answer_give_the_same_text_in_every_tab", async (context) => {
  const next = random(seed);
  const [tabs, reloads] = long ? [3, 20] : [2, 4];
  const pace = { tokens: long ? 900 : 220, delay_ms: 20 };
  const pages = [await open(context, { pace })];
  await say(pages[0], STORY);
  await reach(pages[0], 0, ["running"], 10);
  for (let tab = 1; tab < tabs; tab += 1) pages.push(await open(context, { place: new URL(pages[0].url()).hash }));
  let most = 10;
  for (let n = 0; n < reloads; n += 1) {
    const page = pages[next(tabs)];
    await reach(page, 0, [...LIVE, ...DONE], (most += 20 + next(60)));
    await page.reload();
    await reach(page, 0, [...LIVE, ...DONE], most);
  }
  const texts = [];
  for (const page of pages) {
    texts.push(await sameText(page, await reach(page, 0, DONE)));
    assert.equal(await page.locator(".turn").count(), 1, "no message is doubled");
  }
  assert.equal(new Set(texts).size, 1, `seed ${seed}`);
  const submits = pages.flatMap(({ seen }) => seen.up).filter(({ op }) => op === "submit");
  assert.ok(submits.length === 1, `sent once: ${submits.length}`);
});

await test("a_reload_right_after_sending_neither_loses_nor_doubles_it", async (context) => {
  const page = await open(context, { pace: PACE.long });
  page.broken = true;
  for (const socket of page.seen.sockets) await socket.close({ code: 4000 });
  await say(page, STORY);
  await page.getByText("Sending", { exact: true }).first().waitFor();
  page.broken = false;
  await page.reload();
  await sameText(page, await reach(page, 0, DONE));
  assert.equal(await page.locator(".turn").count(), 1);
  await page.reload();
  await sameText(page, await reach(page, 0, DONE, 10));
  assert.equal(await page.locator(".turn").count(), 1);
});

await test("a_stop_in_the_second_tab_is_seen_in_the_first", async (context) => {
  const first = await open(context, { pace: PACE.endless });
  await say(first, STORY);
  await reach(first, 0, ["running"], 10);
  const second = await open(context, { place: new URL(first.url()).hash });
  const there = await reach(second, 0, ["running"], 10);
  await there.getByRole("button", { name: "Stop" }).click();
  const here = await reach(first, 0, ["stopped"]);
  await reach(second, 0, ["stopped"]);
  assert.equal(await sameText(first, here), await sameText(second, there));
  assert.equal((await record(await taskOf(here))).state, "stopped");
});

await test("the_second_tab_hears_of_what_the_first_one_sends", async (context) => {
  const first = await open(context);
  await say(first, "first");
  await reach(first, 0, DONE);
  const second = await open(context, { place: new URL(first.url()).hash });
  await reach(second, 0, DONE);
  first.pace = PACE.long;
  await say(first, "second");
  await reach(second, 1, ["running"], 10);
  await reach(second, 1, DONE);
  await until(() => second.locator(".turn").count(), 2);
});

await test("another_device_finds_the_thread_on_the_server", async (context) => {
  const first = await open(context);
  const words = `a question of ${Date.now()}`;
  await say(first, words);
  const text = await sameText(first, await reach(first, 0, DONE));
  await first.evaluate(() => localStorage.clear());
  await first.goto("about:blank");
  const other = await open(context);
  await other.getByRole("link", { name: words }).click();
  assert.equal(await sameText(other, await reach(other, 0, DONE)), text);
  await until(() => other.locator(".ask").textContent(), words);
  // By the server's clock: this device did not send it.
  await until(() => other.locator(".figures").innerText(), /first token .*\d+ in, \d+ out/s);
});

await test("another_device_hears_of_the_next_message_and_asks_for_nothing_in_between", async (context) => {
  const first = await open(context);
  await say(first, "first");
  await reach(first, 0, DONE);
  const device = await context.browser().newContext();
  const asked = [];
  device.on("request", (request) => { if (request.url().includes("/v1/lanes")) asked.push(request); });
  const other = await open(device, { place: new URL(first.url()).hash });
  await reach(other, 0, DONE);
  await say(first, "second");
  await reach(other, 1, DONE);
  await sameText(first, await reach(first, 1, DONE));
  // It has the list from its first request; all others wait at the server until it is another one.
  const waits = asked.map((request) => request.url().includes("wait_ms=") && "if-none-match" in request.headers());
  assert.deepEqual([waits[0], waits.slice(1).every(Boolean)], [false, true], asked.map((request) => request.url()).join(" "));
  await device.close();
});

await test("the_composer_stays_open_and_the_next_question_has_the_answer_before_it", async (context) => {
  const page = await open(context, { pace: PACE.long });
  await say(page, "first");
  await say(page, "second");
  await until(() => page.inputValue("#prompt"), "");
  await page.getByText("Waits for the answer above").waitFor();
  page.pace = PACE.short;
  const text = await sameText(page, await reach(page, 0, DONE));
  await reach(page, 1, DONE);
  const { input } = page.seen.up.filter(({ op }) => op === "submit")[1].task;
  assert.deepEqual(input.messages, [{ role: "user", content: "first" }, { role: "assistant", content: text }, { role: "user", content: "second" }]);
});

await test("an_edit_is_a_branch_and_both_stay", async (context) => {
  const page = await open(context);
  await say(page, "first");
  await reach(page, 0, DONE);
  await say(page, "second");
  await reach(page, 1, DONE);
  await page.locator(".turn").nth(1).getByRole("button", { name: "Edit" }).click();
  await until(() => page.inputValue("#prompt"), "second");
  await say(page, "another second");
  await until(() => page.locator(".ask").allTextContents(), ["first", "another second"]);
  await reach(page, 1, DONE);
  await page.locator(".turn").nth(1).getByRole("button", { name: "Earlier version" }).click();
  await until(() => page.locator(".ask").allTextContents(), ["first", "second"]);
  await page.reload();
  await reach(page, 1, DONE);
  await until(() => page.locator(".branches").textContent(), /2 of 2/);
});

await test("a_refused_send_keeps_its_text_and_its_place", async (context) => {
  const page = await open(context);
  page.model = "no-such-model";
  await say(page, STORY);
  const answer = await reach(page, 0, ["refused"]);
  await until(() => answer.locator(".fault").textContent(), /unknown_model/);
  await answer.getByRole("button", { name: "Edit" }).first().click();
  await until(() => page.inputValue("#prompt"), STORY);
  await page.getByRole("button", { name: "Cancel" }).click();
  const key = await page.locator(".turn").getAttribute("data-turn");
  page.model = undefined;
  await answer.getByRole("button", { name: "Retry" }).click();
  await sameText(page, await reach(page, 0, DONE));
  assert.equal(await page.locator(".turn").getAttribute("data-turn"), key, "the same message, not another one");
});

await test("the_page_stays_where_the_reader_put_it", async (context) => {
  const text = Array.from({ length: 240 }, (_, n) => `Line ${n} of a long answer.\n\n`).join(" ");
  const page = await open(context, { pace: { text, delay_ms: 4 } });
  await say(page, STORY);
  await reach(page, 0, ["running"], 3_000);
  const top = () => page.locator("main.scroll").evaluate((node) => node.scrollTop);
  await page.locator("main.scroll").hover();
  await page.mouse.wheel(0, -300);
  await page.getByRole("button", { name: "Latest" }).waitFor();
  const before = await top();
  await reach(page, 0, [...LIVE, ...DONE], 6_000);
  assert.ok(Math.abs((await top()) - before) <= 1, "it did not move");
  await page.getByRole("button", { name: "Latest" }).click();
  await reach(page, 0, DONE);
  const rest = await page.locator("main.scroll").evaluate((node) => node.scrollHeight - node.scrollTop - node.clientHeight);
  assert.ok(rest <= 4, `at the end again: ${rest} px`);
});

await test("a_lost_connection_is_said_and_comes_back", async (context) => {
  const page = await open(context, { pace: PACE.long });
  await say(page, STORY);
  await reach(page, 0, ["running"], 20);
  await context.setOffline(true);
  page.broken = true;
  await page.seen.sockets.at(-1).close({ code: 4001 });
  await page.getByText("Offline. What you send waits here").waitFor();
  page.broken = false;
  await context.setOffline(false);
  await sameText(page, await reach(page, 0, DONE));
  await page.waitForSelector(".offline", { state: "detached" });
});

await test("the_keyboard_goes_everywhere", async (context) => {
  const page = await open(context);
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: "Find and do" }).fill("batch");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "New batch" }).waitFor();
  await page.keyboard.press("Control+k");
  await page.keyboard.type("theme: dark");
  await page.keyboard.press("Enter");
  await until(() => page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.reload();
  await until(() => page.evaluate(() => document.documentElement.dataset.theme), "dark");
});

if (scripted) await test("a_stale_answer_says_its_age_and_a_doubtful_one_its_doubt", async (context) => {
  const page = await open(context);
  page.down = ({ events = [] }) => {
    for (const event of events) {
      if (event.type === "started") event.data.cache = { state: "stale", age_ms: 5 * 60_000 + 1_000, reason: "upstream_timeout" };
      // In the place of what the model says last, so that the offsets stay dense.
      if (event.type === "text" && event.data.includes("w19")) Object.assign(event, { type: "logprobs", data: [0.6, 0.5].map((chance) => ({ token: "w", logprob: Math.log(chance) })) });
    }
  };
  await say(page, STORY);
  const answer = await reach(page, 0, DONE);
  await answer.getByText("Last updated 5 min ago").click();
  await answer.getByText("Reason: upstream_timeout.").waitFor();
  await answer.getByText("Fair confidence").waitFor();
  await page.screenshot({ path: `${process.argv[3]}/app-light-stale.png` });
  await axe(page, "stale");
});

if (scripted) {
  await test("a_failed_answer_says_why_keeps_what_came_and_can_be_tried_again", async (context) => {
    const page = await open(context, { pace: { tokens: 40, delay_ms: 5, fail_at: 20, fault: "invalid" } });
    await say(page, STORY);
    const answer = await reach(page, 0, ["failed"]);
    await until(() => answer.locator(".fault").textContent(), /invalid_input/);
    page.pace = PACE.short;
    await answer.getByRole("button", { name: "Retry" }).click();
    await sameText(page, await reach(page, 0, DONE));
    await until(() => page.locator(".branches").textContent(), /2 of 2/);
  });

  await test("a_tool_that_the_model_wants_to_call_is_shown", async (context) => {
    const call = { index: 0, id: "call_1", type: "function", function: { name: "weather", arguments: '{"place":"Oslo"}' } };
    const page = await open(context, { pace: { tokens: 3, delay_ms: 5, tool_calls: [call] } });
    await say(page, "How is the weather?");
    await reach(page, 0, DONE);
    await page.getByText("Calls weather").click();
    await page.getByText(call.function.arguments).waitFor();
    await axe(page, "tool call");
  });

  await test("fifty_lines_become_a_batch_and_the_form_is_free_at_once", async (context) => {
    const page = await open(context, { place: "#/tasks", pace: (n) => (n === 7 ? { tokens: 10, delay_ms: 5, fail_at: 5, fault: "invalid" } : n === 9 ? PACE.endless : { tokens: 30, delay_ms: 20 }) });
    await page.fill("#ask", "Say something about {item}.");
    await page.fill("#lines", Array.from({ length: 50 }, (_, n) => `=item ${n}`).join("\n"));
    await page.getByRole("button", { name: "Submit 50 tasks" }).click();
    await page.getByText(/^50: .*48 done.*1 failed/).waitFor();
    await page.getByText("=item 0", { exact: true }).waitFor();
    assert.ok(await page.locator(".rows li").count() < 40, "only what is seen is there");
    const name = /item 9/;
    await page.locator('.task[data-state="running"]').getByRole("button", { name: "Stop" }).click();
    await page.getByText("50: 48 done, 1 failed, 1 stopped").waitFor();
    await page.getByRole("button", { name: "Failed", exact: true }).click();
    await page.waitForFunction(() => document.querySelectorAll(".task").length === 1);
    await page.getByText(/invalid_input/).waitFor();
    await page.getByRole("button", { name: "Stopped", exact: true }).click();
    await page.getByText(name).first().waitFor();
    await page.getByRole("button", { name: "All", exact: true }).click();
    await page.getByRole("button", { name: "=item 3", exact: true }).click();
    await sameText(page, page.locator(".inspector .answer"));
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "CSV" }).click()]);
    const lines = (await readFile(await file.path(), "utf8")).trimEnd().split("\r\n");
    assert.equal(lines.length, 51);
    assert.match(lines[1], /^'=item 0,done,/);
    const [json] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "JSON" }).click()]);
    assert.equal(JSON.parse(await readFile(await json.path(), "utf8")).filter(({ state }) => state === "done").length, 48);
  });

  await test("files_are_dropped_and_read", async (context) => {
    const page = await open(context, { place: "#/tasks" });
    await page.fill("#ask", "Summarise.");
    await page.setInputFiles('input[type="file"]', [1, 2, 3].map((n) => ({ name: `note-${n}.md`, mimeType: "text/markdown", buffer: Buffer.from(`# Note ${n}\n\nThe sea.`) })));
    await page.getByRole("button", { name: "Submit 3 tasks" }).click();
    await page.getByText("3: 3 done").waitFor();
    await page.getByText("note-2.md").first().waitFor();
  });
}

if (program && scripted) {
  await test("a_killed_server_comes_back_and_the_answer_goes_on", async (context) => {
    const server = await ownServer();
    try {
      const page = await open(context, { at: server.url, pace: { tokens: 200, delay_ms: 20 } });
      await say(page, STORY);
      await reach(page, 0, ["running"], 100);
      await server.kill();
      await page.waitForSelector('#link:not([data-state="open"])');
      await server.start();
      const answer = await reach(page, 0, DONE);
      await sameText(page, answer, server.url);
      assert.equal(await page.locator(".turn").count(), 1);
    } finally {
      await server.end();
    }
  });

  await test("a_server_that_wants_a_key_asks_for_it", async (context) => {
    const adminKey = "ab".repeat(32);
    const server = await ownServer({ adminKey });
    try {
      const page = await open(context, { at: server.url, wait: ".sign" });
      await axe(page, "sign-in");
      await page.screenshot({ path: `${process.argv[3]}/app-light-sign-in.png` });
      await page.fill("#key", "tw_wrong");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByText("unauthorized").waitFor();
      await page.fill("#key", adminKey);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForSelector('#link[data-state="open"]');
      await page.getByRole("button", { name: "Why is the sea salty?" }).click();
      await reach(page, 0, DONE);
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.waitForSelector(".sign");
    } finally {
      await server.end();
    }
  });
}

const TEXT = await readFile(new URL("answer.md", import.meta.url), "utf8");
for (const [name, look] of Object.entries(LOOKS)) {
  await test(`every_page_is_sound_and_shown_${name}`, async (context) => {
    const shots = process.argv[3];
    const page = await open(context, { pace: scripted ? { text: TEXT, delay_ms: 10 } : PACE.short });
    const look = async (what) => {
      await page.screenshot({ path: `${shots}/app-${name}-${what}.png` });
      await axe(page, `${name}, ${what}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${what}: the page is ${wide} px too wide`);
      assert.deepEqual(await small(page), [], "targets are 24 px or more");
    };
    await look("empty");
    await say(page, "Why is the sea salty, and how salty is it?");
    await reach(page, 0, ["running"], 200);
    await look("streaming");
    await reach(page, 0, DONE);
    await look("answer");
    if (scripted) {
      page.pace = { tokens: 40, delay_ms: 5, fail_at: 20, fault: "invalid" };
      await say(page, "And now something that fails");
      await reach(page, 1, ["failed"]);
      await look("failed");
    }
    if (name === "phone") {
      await page.getByRole("button", { name: "Open the list" }).click();
      await page.getByRole("link", { name: "Why is the sea salty" }).first().waitFor();
      await page.waitForFunction(() => document.querySelector(".list").getBoundingClientRect().left === 0);
      await look("list");
      await page.keyboard.press("Escape");
    }
    await page.getByRole("link", { name: "Tasks", exact: true }).click();
    await page.fill("#ask", "Summarise {item} in three sentences.");
    await page.fill("#lines", ["The Mediterranean", "The Baltic", "The Dead Sea"].join("\n"));
    await look("tasks-new");
    await page.fill("#lines", Array.from({ length: 50 }, (_, n) => `Sea number ${n + 1}`).join("\n"));
    const told = "It is fed by rivers that bring salts from the rocks, and loses water to the air alone. Its salt is what has stayed behind over millions of years. Where fresh water comes in faster than it leaves, the surface is brackish.";
    page.pace = (n) => (n % 17 === 5 ? { text: told, delay_ms: 5, fail_at: 5, fault: "invalid" } : { text: told, delay_ms: 12 + n });
    await page.getByRole("button", { name: "Submit 50 tasks" }).click();
    await page.getByText(/^50: [1-9]\d* done, [1-9]\d* running/).waitFor();
    await look("tasks");
    await page.getByRole("button", { name: "Sea number 1", exact: true }).click();
    await page.waitForSelector(".inspector .prose");
    await look("tasks-open");
    await page.getByRole("button", { name: "Close", exact: true }).click();
    await page.getByText(/^50: 47 done, 3 failed/).waitFor();
    await page.keyboard.press("Control+k");
    await page.waitForSelector(".palette li");
    await look("palette");
  }, look);
}

await finish();
