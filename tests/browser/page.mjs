// The chat page in a real browser: what a person sees, over reloads, cuts, stops and several answers at once.
// Usage: node page.mjs URL FOLDER [part of a test's name]. The server has the scripted backend or a real model.
import assert from "node:assert/strict";
import { PACE, base, finish, kept, open, reach, record, sameText, say, scripted, shots, shown, taskOf, test, until } from "./harness.mjs";

const STORY = "Tell me a long story about the sea, in many short paragraphs, with a list.";
const DONE = ["done"];
const LIVE = ["sending", "queued", "running"];

await test("it_connects_and_says_to_what", async (context) => {
  const { page } = await open(context, null);
  await until(() => page.textContent("#version"), /^\d+\.\d+\S* · \w+, (fsync|write)$/);
  await page.waitForFunction(() => /^\d+ ms$/.test(document.getElementById("trip").textContent));
  await until(() => page.textContent("#curl"), new RegExp(`^curl ${base}v1/tasks `));
});

await test("the_suggestion_is_answered_over_the_plain_wire", async (context) => {
  const { page } = await open(context, null);
  await page.click("#suggest");
  const turn = await reach(page, 0, DONE);
  await sameText(turn);
  await until(() => turn.locator(".figures").innerText(), /first token .*tokens\/s.*tokens: .*\d+ in, \d+ out.*task_/s);
  await until(() => page.textContent("#status"), "The answer is complete.");
});

await test("text_grows_while_it_streams", async (context) => {
  const { page } = await open(context, { pace: PACE.long });
  await say(page, STORY);
  const lengths = [0];
  while (lengths.length < 6) {
    const turn = await reach(page, 0, [...LIVE, ...DONE], lengths.at(-1) + 1);
    lengths.push((await shown(turn)).length);
  }
  await sameText(await reach(page, 0, DONE));
});

await test("a_reload_in_mid_answer_gives_the_whole_text", async (context) => {
  const { page, seen } = await open(context, { pace: PACE.long });
  await say(page, STORY);
  await reach(page, 0, ["running"], 100);
  await page.reload();
  await reach(page, 0, ["running"], 200);
  await page.reload();
  const turn = await reach(page, 0, DONE);
  await sameText(turn);
  await until(() => turn.locator(".ask").textContent(), STORY);
  assert.equal(seen.up.filter(({ op }) => op === "submit").length, 1, "the prompt was sent once");
  await page.reload();
  await reach(page, 0, DONE, 100);
  await sameText(turn);
});

await test("stop_stops_the_task_on_the_server", async (context) => {
  const { page } = await open(context, { pace: PACE.endless });
  await say(page, STORY);
  const turn = await reach(page, 0, ["running"], 10);
  await turn.getByRole("button", { name: "Stop" }).click();
  await reach(page, 0, ["stopped"]);
  assert.equal((await record(await taskOf(turn))).state, "stopped");
  await sameText(turn);
});

await test("several_answers_come_at_once_and_the_composer_stays_open", async (context) => {
  const { page } = await open(context, { pace: PACE.long });
  for (const n of [0, 1, 2]) {
    await say(page, `${n}: ${STORY}`);
    await until(() => page.inputValue("#prompt"), "", "the composer is ready again");
    await reach(page, n, LIVE);
  }
  const states = await page.locator(".turn").evaluateAll((turns) => turns.map((turn) => turn.dataset.state));
  assert.ok(states.every((state) => LIVE.includes(state)), `all three are live at once: ${states}`);
  for (const n of [0, 1, 2]) await sameText(await reach(page, n, DONE));
});

await test("escape_stops_the_newest_and_shift_enter_breaks_the_line", async (context) => {
  const { page } = await open(context, { pace: PACE.endless });
  await page.fill("#prompt", "one");
  await page.press("#prompt", "Shift+Enter");
  await page.keyboard.type("two");
  await page.keyboard.press("Enter");
  const first = await reach(page, 0, ["running"], 1);
  await until(() => first.locator(".ask").textContent(), "one\ntwo");
  await say(page, "another");
  await reach(page, 1, LIVE);
  await page.keyboard.press("Escape");
  await reach(page, 1, ["stopped"]);
  await until(() => first.getAttribute("data-state"), "running");
  await page.keyboard.press("Escape");
  await reach(page, 0, ["stopped"]);
});

await test("a_cut_connection_comes_back_and_misses_nothing", async (context) => {
  const { page, seen } = await open(context, { pace: PACE.long });
  await say(page, STORY);
  for (const length of [100, 250]) {
    await reach(page, 0, ["running"], length);
    await seen.sockets.at(-1).close({ code: 4000, reason: "shutting_down" });
  }
  await sameText(await reach(page, 0, DONE));
  const follows = seen.up.filter(({ op }) => op === "follow");
  assert.equal(follows.length, 2);
  assert.ok(follows.every(({ after, epoch }) => after > 0 && epoch > 0), "each goes on after the last offset");
});

await test("a_send_whose_ack_was_lost_is_not_doubled", async (context) => {
  let lost = false;
  const down = (frame, socket) => {
    if (frame.op !== "ack" || lost) return true;
    lost = true;
    socket.close({ code: 4000 });
    return false;
  };
  const { page, seen } = await open(context, { down });
  await say(page, STORY);
  await sameText(await reach(page, 0, DONE));
  const acks = seen.down.filter(({ op }) => op === "ack");
  assert.equal(acks.length, 2);
  assert.equal(acks[1].known, true);
  assert.equal(acks[1].task, acks[0].task);
});

await test("a_frame_that_went_missing_is_asked_for_again", async (context) => {
  let frames = 0;
  const down = (frame) => frame.op !== "events" || ++frames !== 3;
  const { page, seen } = await open(context, { pace: PACE.long, down });
  await say(page, STORY);
  await sameText(await reach(page, 0, DONE));
  assert.equal(seen.up.filter(({ op }) => op === "follow").length, 1);
});

await test("a_terminal_close_code_stops_and_says_so", async (context) => {
  const { page, seen } = await open(context, { pace: PACE.long });
  await seen.sockets[0].close({ code: 4500, reason: "protocol_violation" });
  await page.waitForSelector('#link[data-state="closed"]');
  await until(() => page.textContent("#offline-text"), /4500 protocol_violation/);
  // Sending does not reconnect either, and what is sent waits.
  await say(page, STORY);
  await page.getByText("Waits for the connection").waitFor();
  assert.equal(seen.sockets.length, 1);
  await page.click("#again");
  await sameText(await reach(page, 0, DONE));
});

await test("offline_is_said_after_three_seconds_and_what_is_sent_waits", async (context) => {
  let refuse = false;
  const { page, seen } = await open(context, { refuse: () => refuse });
  refuse = true;
  await seen.sockets[0].close({ code: 4001 });
  await say(page, STORY);
  const began = Date.now();
  await page.getByText("Offline. What you send waits here.").waitFor();
  assert.ok(Date.now() - began > 2_000, "not at once");
  refuse = false;
  await page.click("#again");
  await sameText(await reach(page, 0, DONE));
  await page.waitForSelector("#offline", { state: "hidden" });
});

await test("a_log_that_is_gone_is_called_expired", async (context) => {
  const { page } = await open(context);
  await say(page, STORY);
  await reach(page, 0, DONE);
  await page.evaluate(() => {
    const chat = JSON.parse(localStorage["tidewire.chat"]);
    chat.turns[0].task = chat.turns[0].task.slice(0, -4) + "0000";
    // The page saves when it is left, so that the change has to come after that.
    addEventListener("unload", () => { localStorage["tidewire.chat"] = JSON.stringify(chat); });
  });
  await page.reload();
  const turn = await reach(page, 0, ["expired"]);
  await until(() => turn.locator(".ask").textContent(), STORY);
  await turn.getByRole("button", { name: "Retry" }).first().click();
  await sameText(await reach(page, 0, DONE));
});

await test("a_refused_send_says_why_and_keeps_the_text", async (context) => {
  let broken = true;
  const up = (frame) => { if (frame.op === "submit" && broken) frame.task.model = "no-such-model"; };
  const { page } = await open(context, { up });
  await say(page, STORY);
  const turn = await reach(page, 0, ["failed"]);
  await until(() => turn.locator(".fault p").textContent(), /unknown_model/);
  await turn.getByRole("button", { name: "Edit" }).click();
  await until(() => page.inputValue("#prompt"), STORY);
  broken = false;
  await turn.getByRole("button", { name: "Retry", exact: true }).click();
  await sameText(await reach(page, 0, DONE));
});

if (scripted) {
  await test("a_failed_task_names_its_cause_and_its_id", async (context) => {
    const { page } = await open(context, { pace: { tokens: 40, delay_ms: 5, fail_at: 20, fault: "invalid" } });
    await say(page, STORY);
    const turn = await reach(page, 0, ["failed"]);
    await until(() => turn.locator(".fault p").textContent(), /invalid_input/);
    await until(() => turn.locator(".figures").textContent(), /task_/);
  });

  await test("a_conversation_that_outgrew_the_model_goes_on_without_its_past", async (context) => {
    const pace = { tokens: 5, delay_ms: 5 };
    const { page, seen } = await open(context, { pace });
    await say(page, "first");
    await reach(page, 0, DONE);
    pace.fault = "context_too_long";
    await say(page, "second");
    const turn = await reach(page, 1, ["failed"]);
    delete pace.fault;
    await turn.getByRole("button", { name: "Retry without the earlier messages" }).click();
    await sameText(await reach(page, 1, DONE));
    assert.deepEqual(seen.up.findLast(({ op }) => op === "submit").task.input.messages, [{ role: "user", content: "second" }]);
  });

  await test("a_second_attempt_is_a_quiet_line_and_the_text_begins_anew", async (context) => {
    const key = `retry ${Date.now()}`;
    const pace = { tokens: 60, delay_ms: 5, fail_at: 30, fault: "broken", fail_attempts: 1, continues: false, key };
    const { page, seen } = await open(context, { pace });
    await say(page, STORY);
    const turn = await reach(page, 0, DONE);
    await sameText(turn);
    await until(() => turn.locator(".note").textContent(), /^Attempt 1 failed: /);
    const types = seen.down.flatMap(({ events = [] }) => events.map(({ type }) => type));
    assert.ok(types.includes("retry") && types.includes("rewind"), `retry and rewind came: ${types}`);
  });

  await test("markdown_is_shown_and_stays_byte_equal", async (context) => {
    const text = "# Salt\n\nFrom **rocks** and `rivers`:\n\n1. rain\n2. rivers\n\n- 35 g\n  - `NaCl`\n\n```js\nconst a = \"**no**\";\n\n```\n<b>not</b> & done **open\n\n\n";
    const { page } = await open(context, { pace: { text, delay_ms: 3 } });
    await say(page, STORY);
    const turn = await reach(page, 0, DONE);
    assert.equal(await sameText(turn), text);
    const count = (selector) => turn.locator(`.text ${selector}`).count();
    assert.deepEqual([await count("h2"), await count("strong"), await count("ol li"), await count("ul li"), await count("pre"), await count("b")], [1, 1, 2, 2, 1, 0]);
    assert.doesNotMatch(await turn.locator(".text").innerText(), /```|# Salt|\*\*rocks/);
  });

  await test("a_waiting_task_shows_its_place_in_line", async (context) => {
    const { page } = await open(context, { pace: PACE.endless });
    // More than any default of tasks that run at once.
    const many = 40;
    for (let n = 0; n < many; n += 1) await say(page, `number ${n}`);
    const waits = page.getByText(/^Queued, (\d+ ahead of you|next in line)(, about [\d.]+ s)?$/).first();
    const all = page.waitForFunction((many) => document.querySelectorAll('.turn[data-state="running"]').length === many, many);
    await Promise.race([waits.waitFor(), all.then(() => assert.fail("all 40 run at once: the server's limit is higher"))]);
    all.catch(() => {});
    await page.screenshot({ path: `${shots}/queue.png` });
    for (let n = 0; n < many; n += 1) await page.keyboard.press("Escape");
    for (let n = 0; n < many; n += 1) await reach(page, n, ["stopped"]);
  });
}

await test("a_reader_who_scrolls_up_is_left_there", async (context) => {
  const { page } = await open(context, { pace: { ...PACE.endless, delay_ms: 10 } });
  await page.setViewportSize({ width: 500, height: 420 });
  await say(page, STORY);
  const overflow = () => { const { scrollHeight, clientHeight } = document.getElementById("scroll"); return scrollHeight > clientHeight + 150; };
  await page.waitForFunction(overflow);
  const gap = () => page.$eval("#scroll", (node) => node.scrollHeight - node.scrollTop - node.clientHeight);
  assert.ok(await gap() < 60, "it follows at the bottom");
  await page.mouse.move(250, 200);
  // A person turns the wheel until the page gives way: a single notch can meet a scroll that is under way.
  do await page.mouse.wheel(0, -60);
  while (!await page.waitForSelector("#latest:visible", { timeout: 2_000 }).catch(() => false));
  // Chromium scrolls in small steps: the place counts once it is the same over ten frames.
  const top = await page.$eval("#scroll", async (node) => {
    for (let same = 0, top = -1; same < 10; same = node.scrollTop === top ? same + 1 : 0) {
      top = node.scrollTop;
      await new Promise(requestAnimationFrame);
    }
    return node.scrollTop;
  });
  const length = (await shown(page.locator(".turn"))).length;
  await reach(page, 0, [...LIVE, ...DONE], length + 150);
  assert.equal(await page.$eval("#scroll", (node) => node.scrollTop), top, "it stayed where the reader is");
  await page.click("#latest");
  await page.waitForSelector("#latest", { state: "hidden" });
  await page.keyboard.press("Escape");
  await reach(page, 0, ["stopped", "done"]);
});

await test("the_next_question_carries_the_conversation", async (context) => {
  const { page, seen } = await open(context);
  await say(page, "first");
  const answer = await shown(await reach(page, 0, DONE));
  await say(page, "second");
  await reach(page, 1, DONE);
  const { messages } = seen.up.filter(({ op }) => op === "submit")[1].task.input;
  assert.deepEqual(messages, [{ role: "user", content: "first" }, { role: "assistant", content: answer }, { role: "user", content: "second" }]);
  await page.click("#new");
  await until(() => page.locator(".turn").count(), 0);
  await page.click("#back");
  await sameText(await reach(page, 1, DONE, 1));
});

await test("a_second_tab_follows_what_the_first_one_asks", async (context) => {
  const { page } = await open(context, { pace: PACE.long });
  const { page: other } = await open(context);
  await say(page, STORY);
  const there = await reach(other, 0, ["running"], 1);
  await sameText(await reach(page, 0, DONE));
  await reach(other, 0, DONE);
  await sameText(there);
});

await test("readers_of_all_kinds", async (context) => {
  const { page } = await open(context);
  await until(() => page.getAttribute("#scroll", "aria-live"), "off");
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    const ratios = await page.evaluate(() => {
      const style = getComputedStyle(document.documentElement);
      const luminance = (name) => {
        const [r, g, b] = style.getPropertyValue(name).match(/[0-9a-f]{2}/gi).map((hex) => parseInt(hex, 16) / 255)
          .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ratio = (one, two) => { const [a, b] = [luminance(one), luminance(two)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
      return Object.fromEntries(["--text", "--muted", "--accent", "--info", "--warning", "--error"].map((name) => [name, ratio(name, "--surface")]));
    });
    for (const [name, ratio] of Object.entries(ratios)) assert.ok(ratio >= 5.995, `${name} on the surface, ${colorScheme}: ${ratio.toFixed(2)}`);
  }
  await page.emulateMedia({ reducedMotion: "reduce" });
  await say(page, STORY);
  await reach(page, 0, DONE);
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0, "nothing moves");
  for (const node of await page.locator("button:visible, select:visible, textarea:visible").all()) {
    const { width, height } = await node.boundingBox();
    assert.ok(width >= 24 && height >= 24, "targets are 24 px or more");
  }
});

const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  "phone-dark": { colorScheme: "dark", viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};
for (const [name, look] of Object.entries(LOOKS)) {
  await test(`screenshots_${name}`, async (context) => {
    const { page } = await open(context, { pace: { ...PACE.long, tokens: 120, delay_ms: 25 } });
    const shoot = async (what) => {
      await page.screenshot({ path: `${shots}/${name}-${what}.png` });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${what}: the page is ${wide} px too wide`);
    };
    await shoot("empty");
    await say(page, "Why is the sea salty?");
    await reach(page, 0, ["running"], 60);
    await shoot("streaming");
    await reach(page, 0, DONE);
    await say(page, "And why are lakes not?");
    await say(page, "Which sea has the most salt, and how did it come to that?");
    await reach(page, 2, [...LIVE, ...DONE], 40);
    await shoot("several");
    await reach(page, 1, DONE);
    await reach(page, 2, DONE);
    await shoot("done");
  }, look);
}

await finish();
