// The operators' pages in a real browser: live figures, the explorer, dead letters, money and keys.
// Usage: node operations.mjs URL FOLDER [part of a test's name]. TIDEWIRE_TEST_PROGRAM names the program, for a server with keys.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { base, finish, scripted, shots, test as run, until } from "./harness.mjs";
import { open as openApp } from "./app-harness.mjs";
import { sample, usage } from "./operations-sample.mjs";
import { operationsStub } from "./operations-stub.mjs";
import { ownServer, program } from "./own-server.mjs";

const test = (name, body, options = {}) => run(name, async (context) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await body(context);
}, options);

/** A test on made-up figures: `stub` tells them, and the server behind it answers the rest. */
const stubbed = (name, body, options) => test(name, async (context) => {
  const now = Date.now();
  const stub = await operationsStub(base, sample(now), { "/v1/usage": () => usage(now) });
  try {
    await body(context, stub, now);
  } finally {
    await stub.end();
  }
}, options);

const long = process.env.TIDEWIRE_TEST_LONG === "1";
const open = (context, place, options = {}) => openApp(context, { place: `#/operations/${place}`, ...options });
const source = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

async function axe(page, what, rules) {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(source);
  const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { resultTypes: ["violations"], ...(rules ? { runOnly: rules } : {}) }), rules);
  assert.deepEqual(violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`), []);
}

const post = async (path, body, at = base) => {
  const answer = await fetch(`${at}v1/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  return answer.json();
};
const submit = (script, rest = {}) => post("tasks", { input: { messages: [{ role: "user", content: "Why is the sea salty?" }], script }, ...rest });
const ended = (id) => fetch(`${base}v1/tasks/${id}/text?wait_ms=30000`).then((answer) => answer.text());
const FAILS = { tokens: 40, delay_ms: 2, fail_at: 20, fault: "invalid" };

await stubbed("one_stream_feeds_the_pages_and_no_chart_is_loaded_before_it_is_looked_at", async (context, stub) => {
  const loaded = [];
  context.on("request", (request) => loaded.push(new URL(request.url()).pathname));
  const page = await open(context, "overview", { at: stub.url });
  await page.waitForSelector(".spark path");
  const plots = () => loaded.filter((path) => /uplot-.*\.js$/.test(path)).length;
  assert.equal(plots(), 0, "no chart is seen yet");
  await page.locator("#hour").scrollIntoViewIfNeeded();
  await page.mouse.move(600, 300);
  do await page.mouse.wheel(0, 200);
  while (!(await page.waitForSelector(".uplot canvas", { timeout: 1_000 }).catch(() => false)));
  await page.getByRole("link", { name: "Deployments" }).click();
  await page.waitForSelector(".strip-hour");
  await page.getByRole("link", { name: "Money" }).click();
  await page.waitForSelector(".budget");
  await page.getByRole("link", { name: "Overview" }).click();
  await page.waitForSelector(".spark path");
  const views = stub.asked.filter((line) => /\/v1\/(operations|routes|usage|admin|tasks)/.test(line) && !/lane|app=/.test(line));
  assert.deepEqual(views.filter((line) => line.includes("operations")), ["GET /v1/operations"], `one stream: ${views}`);
  assert.equal(plots(), 1, "uPlot is there once");
}, { viewport: { width: 1200, height: 500 } });

await stubbed("figures_change_in_their_place_and_the_hour_shifts", async (context, stub, now) => {
  const page = await open(context, "overview", { at: stub.url });
  const ttft = page.locator('[data-stat="ttft"] .figure');
  await ttft.getByText("214 ms").waitFor();
  stub.send("update", { latencies: { ttft: { count: 3, p50_ms: 1234, p95_ms: 2000, p99_ms: 3000 } } });
  await ttft.getByText("1.23 s").waitFor();
  await page.getByText("–", { exact: true }).first().waitFor();
  await page.locator("#hour").scrollIntoViewIfNeeded();
  await page.mouse.move(600, 300);
  await page.mouse.wheel(0, 200);
  const chart = page.locator("figure", { hasText: "Queue" });
  await chart.locator("canvas").waitFor();
  await chart.getByText("Table").click();
  const rows = chart.locator("tbody tr");
  await rows.first().waitFor();
  await until(() => rows.count(), 60, "a row for each minute");
  stub.send("point", { at: now + 10_000, values: { waiting: 777, running: 1 } });
  await rows.first().getByText("777").waitFor();
  await chart.getByRole("img", { name: /Waiting now 777, at most 777|waiting now 777, at most 777/ }).waitFor();
  await until(() => rows.count(), 60, "the oldest fell out");
});

await stubbed("a_cut_stream_keeps_its_figures_says_their_age_and_comes_back", async (context, stub) => {
  const page = await open(context, "overview", { at: stub.url });
  const figure = page.locator('[data-stat="ttft"] .figure');
  await figure.getByText("214 ms").waitFor();
  // It would come back by itself in a minute: here a person asks first.
  stub.refuse(503, { code: "shutting_down", message: "the server drains", retry_after_ms: 60_000 });
  stub.cut();
  const age = page.getByText(/^Last updated \d+ s ago/);
  await age.waitFor();
  await age.click();
  await page.getByText("the server drains").waitFor();
  assert.equal(await figure.evaluate((node) => getComputedStyle(node).color), await page.evaluate(() => getComputedStyle(document.body).color), "at full contrast");
  await figure.getByText("214 ms").waitFor();
  stub.refuse(undefined);
  await page.getByRole("button", { name: "Ask now" }).click();
  await page.locator(".pulse").getByText("Live").waitFor();
  await until(() => age.count(), 0);
});

await stubbed("a_pause_holds_everything_that_is_live", async (context, stub) => {
  const page = await open(context, "overview", { at: stub.url });
  const waiting = page.locator(".stat", { hasText: "Waiting" }).locator(".figure");
  await waiting.getByText("46").waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText(/^Paused at/).waitFor();
  stub.send("update", { queue: { waiting: 99, running: 1, by_priority: [], by_tenant: [] } });
  // The link's state is told all the same: once it is, what came before it was held too.
  stub.refuse(503, { code: "shutting_down", message: "the server drains" });
  stub.cut();
  await page.getByText(/^Last updated/).waitFor();
  assert.equal(await waiting.textContent(), "46");
  stub.refuse(undefined);
  await page.getByRole("button", { name: "Go on" }).click();
  await waiting.getByText("99").waitFor();
});

await stubbed("a_chart_that_can_not_be_drawn_takes_nothing_else_with_it", async (context, stub) => {
  let broken = true;
  context.on("page", (page) => page.route(/assets\/Lines-.*\.js/, (route) => (broken ? route.abort() : route.fallback())));
  const page = await open(context, "overview", { at: stub.url });
  await page.locator("#hour").scrollIntoViewIfNeeded();
  await page.mouse.move(600, 300);
  await page.mouse.wheel(0, 300);
  const chart = page.locator("figure", { hasText: "Queue" });
  await chart.getByText("This chart can't be drawn").waitFor();
  await chart.locator("summary").click();
  await chart.locator("tbody tr").first().waitFor();
  await page.locator('[data-stat="ttft"] .figure').getByText("214 ms").waitFor();
  broken = false;
  await chart.getByRole("button", { name: "Retry" }).click();
  await chart.locator("canvas").waitFor();
});

await stubbed("a_refused_stream_says_why_and_the_rest_works", async (context, stub) => {
  stub.refuse(403, { code: "forbidden", message: "the key lacks the scope `admin:read`" });
  const page = await open(context, "overview", { at: stub.url });
  await page.getByText("forbidden").waitFor();
  stub.refuse(undefined);
  await page.getByRole("button", { name: "Retry" }).click();
  await page.locator('[data-stat="ttft"] .figure').getByText("214 ms").waitFor();
});

if (scripted) {
  await test("a_server_is_shown_as_it_is", async (context) => {
    await ended((await submit({ tokens: 20, delay_ms: 5 })).id);
    const page = await open(context, "overview");
    await page.locator('[data-stat="ttft"] .figure').getByText(/^[\d.]+ m?s/).waitFor();
    const { id } = await submit({ tokens: 5_000, delay_ms: 20 });
    const lease = page.locator("tr", { hasText: id.slice(-8) });
    await lease.getByText("scripted").first().waitFor();
    await page.locator(".stat", { hasText: "Running" }).locator(".figure").getByText(/^[1-9]/).waitFor();
    await page.getByRole("link", { name: "Deployments" }).click();
    await page.locator(".deployment").getByText("Healthy").first().waitFor();
    await page.locator(".strip-hour rect[data-part=ok]").last().waitFor();
    await page.getByRole("link", { name: "Money" }).click();
    await page.locator(".budget", { hasText: "default" }).getByText(/^[1-9][\d,]* tasks? today/).waitFor();
    await page.getByRole("link", { name: "Overview" }).click();
    await lease.getByRole("link").click();
    await page.locator(".story").getByRole("button", { name: "Stop" }).click();
    await page.locator(".story").getByText("Stopped", { exact: true }).waitFor();
    await page.getByRole("link", { name: "Overview" }).click();
    await page.locator("#leases").waitFor();
    await lease.waitFor({ state: "detached" });
  });

  await test("a_request_is_found_and_its_story_told_in_three_ways", async (context) => {
    const user = `reader-${Date.now()}`;
    const told = await submit({ tokens: 30, delay_ms: 2, fail_at: 10, fault: "broken", fail_attempts: 1, continues: false, key: user }, { user });
    const failed = await submit(FAILS, { user });
    await Promise.all([ended(told.id), ended(failed.id)]);
    const page = await open(context, `requests/${encodeURIComponent(`user=${user}`)}`);
    await page.getByText("2 tasks").waitFor();
    await page.getByLabel("State").selectOption("failed");
    await page.getByText("1 task", { exact: true }).waitFor();
    await until(() => page.url(), /state%3Dfailed/, "the address keeps the filter");
    await page.locator(".request").getByText("invalid_input").waitFor();
    await page.getByLabel("State").selectOption("");
    await page.getByText("2 tasks").waitFor();
    await page.getByLabel("Task", { exact: true }).fill(told.id);
    await page.getByText("1 task", { exact: true }).waitFor();
    await page.locator(".request").click();
    await page.locator(".compact").getByText("2 of 3").waitFor();
    await page.locator(".answer-text").getByText(/^w0 w1 .*w29 $/).waitFor();
    await page.getByRole("button", { name: "Timeline" }).click();
    await page.locator(".timeline").getByText("Backoff", { exact: true }).waitFor();
    const wide = await page.locator(".timeline .lane i").evaluateAll((bars) => bars.every((bar) => bar.getBoundingClientRect().right <= bar.parentNode.getBoundingClientRect().right + 1));
    assert.ok(wide, "each span lies within the whole");
    await page.getByRole("button", { name: "Events" }).click();
    await page.locator(".events").getByText(/^\d+ events?, newest first/).waitFor();
    const types = await page.locator(".events .type").allTextContents();
    assert.deepEqual([types[0], types.at(-1)], ["end", "started"]);
    assert.ok(types.includes("text ×30"), `tokens are folded: ${types}`);
    assert.equal(await page.locator(".events pre").count(), 0, "no payload before it is asked for");
    await page.locator(".events summary").first().click();
    await page.locator(".events pre").getByText('"finish_reason": "stop"').waitFor();
    await page.bringToFront();
    await page.getByRole("button", { name: "Copy curl" }).click();
    await page.getByText("Copied").waitFor();
    await until(() => page.evaluate(() => navigator.clipboard.readText()), /^curl -s 'http.*v1\/tasks' .*"script"/);
    await page.keyboard.press("Escape");
    await page.waitForSelector(".story", { state: "detached" });
  });

  await test("a_running_request_is_followed_and_stopped", async (context) => {
    const { id } = await submit({ tokens: 5_000, delay_ms: 20 });
    const page = await open(context, `requests/all/${id}`);
    await page.getByRole("button", { name: "Events" }).click();
    const count = page.locator(".events .type", { hasText: "text" });
    await count.getByText(/×\d+/).waitFor();
    const before = await count.textContent();
    await page.waitForFunction((text) => document.querySelectorAll(".events .type")[0]?.textContent !== text, before);
    await page.locator(".story").getByRole("button", { name: "Stop" }).click();
    await page.locator(".events .type").first().getByText("end").waitFor();
    await page.locator(".story").getByText("Stopped", { exact: true }).waitFor();
  });

  await test("only_the_rows_that_are_seen_are_there_and_older_ones_come_by_scrolling", async (context) => {
    const user = `many-${Date.now()}`;
    const tasks = Array.from({ length: 120 }, () => ({ input: { messages: [{ role: "user", content: "x" }], script: { tokens: 1, delay_ms: 0 } } }));
    await post("tasks/batch", { tasks, defaults: { user } });
    const page = await open(context, `requests/${encodeURIComponent(`user=${user}`)}`);
    await page.getByText("50+ tasks").waitFor();
    const rows = page.locator(".rows");
    assert.ok(await rows.locator("li").count() < 40);
    for (const many of ["100+ tasks", "120 tasks"]) {
      await rows.evaluate((node) => node.scrollTo(0, node.scrollHeight));
      await page.getByText(many).waitFor();
    }
    assert.ok(await rows.locator("li").count() < 40);
  });

  await test("dead_letters_of_a_filter_are_retried_together_and_the_others_stay", async (context) => {
    const key = `letters ${Date.now()}`;
    const once = { ...FAILS, fail_attempts: 1, key };
    for (let n = 0; n < 3; n += 1) await ended((await submit({ ...once, key: `${key} ${n}` })).id);
    const page = await open(context, "dead-letters");
    await page.locator(".letter").first().waitFor();
    await page.getByLabel("Error").fill("budget_spent");
    await page.getByText("No dead letter is found by this filter.").waitFor();
    await until(() => page.getByRole("button", { name: "Retry all" }).isDisabled(), true);
    await page.getByLabel("Error").fill("invalid_input");
    const all = page.getByRole("button", { name: "Retry all with invalid_input" });
    await all.click();
    await page.getByRole("button", { name: "Leave them" }).click();
    await all.click();
    await page.getByRole("dialog").getByRole("button", { name: "Retry all" }).click();
    await page.getByText(/^[1-9]\d* tried again\.$/).waitFor();
  });
}

if (program && scripted) {
  await test("keys_are_made_shown_once_and_revoked_and_who_may_only_look_has_no_buttons", async (context) => {
    const adminKey = "ab".repeat(32);
    const server = await ownServer({ adminKey });
    try {
      const page = await openApp(context, { at: server.url, wait: ".sign", place: "#/operations/keys" });
      const enter = async (key) => {
        await page.fill("#key", key);
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.waitForSelector('#link[data-state="open"]');
      };
      await enter(adminKey);
      const make = async (name, kind, limit) => {
        await page.getByRole("button", { name: "New key" }).click();
        await page.getByLabel("Name").fill(name);
        await page.getByLabel("What it is for").selectOption(kind);
        if (limit) await page.getByLabel("Requests a minute").fill(limit);
        await axe(page, "new key");
        await page.getByRole("button", { name: "Make the key" }).click();
        const secret = await page.locator("#secret").textContent();
        await page.getByRole("button", { name: "I have it" }).click();
        return secret;
      };
      const application = await make("Website", "", "60");
      const looker = await make("Looker", "read-only");
      assert.match(application, /^tw_/);
      assert.doesNotMatch(await page.content(), new RegExp(application), "the secret is gone from the page");
      const row = page.locator(".key", { hasText: "Website" });
      await row.getByText("60 requests/min").waitFor();
      await page.getByRole("button", { name: "Limits of Website" }).click();
      await page.getByLabel("Requests a minute").fill("-1");
      await until(() => page.getByRole("button", { name: "Set the limits" }).isDisabled(), true);
      await page.getByLabel("Requests a minute").fill("90");
      await page.getByRole("button", { name: "Set the limits" }).click();
      await row.getByText("90 requests/min").waitFor();
      for (const look of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme: look });
        await page.screenshot({ path: `${shots}/app-${look}-ops-keys.png` });
        await axe(page, `keys, ${look}`);
      }
      await page.emulateMedia({ colorScheme: "light" });
      await page.setViewportSize({ width: 390, height: 844 });
      await page.screenshot({ path: `${shots}/app-phone-ops-keys.png` });
      await page.setViewportSize({ width: 1200, height: 860 });
      await page.getByRole("button", { name: "Revoke Website" }).click();
      await page.getByRole("button", { name: "Keep it" }).click();
      await page.getByRole("button", { name: "Revoke Website" }).click();
      await page.getByRole("button", { name: "Revoke for good" }).click();
      await row.getByText(/^Revoked/).waitFor();
      await page.getByText(/POST \/v1\/admin\/keys\/key_.*\/revoke/).waitFor();
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.waitForSelector(".sign");
      await enter(looker);
      await page.locator(".key", { hasText: "Website" }).waitFor();
      for (const name of ["New key", "Revoke Looker", "Limits of Looker"]) assert.equal(await page.getByRole("button", { name }).count(), 0, name);
      await page.getByRole("link", { name: "Dead letters" }).click();
      await page.getByText("No task has failed for good.").first().waitFor();
      assert.equal(await page.getByRole("button", { name: /^Retry/ }).count(), 0);
    } finally {
      await server.end();
    }
  });

  await test("a_key_of_an_application_sees_its_own_and_no_operators_page", async (context) => {
    const adminKey = "cd".repeat(32);
    const server = await ownServer({ adminKey });
    try {
      const made = await fetch(`${server.url}v1/admin/keys`, { method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${adminKey}` }, body: JSON.stringify({ name: "app" }) });
      const { secret } = await made.json();
      const page = await openApp(context, { at: server.url, wait: ".sign", place: "#/operations" });
      await page.fill("#key", secret);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("heading", { name: "Your usage" }).waitFor();
      const tabs = await page.getByRole("navigation", { name: "Operations" }).getByRole("link").allTextContents();
      assert.deepEqual(tabs, ["Money", "Requests", "Dead letters"]);
      await page.getByRole("link", { name: "Requests" }).click();
      await page.getByText("No task is found by this filter.").waitFor();
      assert.equal(await page.getByLabel("Tenant").count(), 0);
    } finally {
      await server.end();
    }
  });
}

/** Everything that a person can come to, once; `look` is told where it is. */
async function tour(page, key, look) {
  await page.waitForSelector(".spark path");
  await look("overview");
  await page.locator("#hour").scrollIntoViewIfNeeded();
  await page.locator(".charts").evaluate((node) => node.scrollIntoView());
  await page.waitForSelector(".uplot canvas");
  await look("overview-hour");
  await page.locator("#machine").scrollIntoViewIfNeeded();
  await look("overview-below");
  await page.getByRole("link", { name: "Deployments" }).click();
  await page.waitForSelector(".strip-hour");
  await look("deployments");
  await page.getByRole("link", { name: "Money" }).click();
  await page.waitForSelector(".budget");
  await look("money");
  await page.locator("#cost").evaluate((node) => node.parentNode.scrollIntoView());
  await page.waitForSelector(".days svg");
  await look("money-below");
  const { id } = await submit({ tokens: 60, delay_ms: 4, fail_at: 30, fault: "broken", fail_attempts: 1, continues: false, key });
  await ended(id);
  await ended((await submit(FAILS)).id);
  await page.getByRole("link", { name: "Requests" }).click();
  await page.waitForSelector(".request");
  await look("requests");
  await page.locator(`.request[href*="${id}"]`).click();
  await page.waitForSelector(".story .answer-text");
  await look("request");
  await page.getByRole("button", { name: "Timeline" }).click();
  await page.waitForSelector(".timeline li");
  await look("request-timeline");
  await page.getByRole("button", { name: "Events" }).click();
  await page.waitForSelector(".events li");
  await page.locator(".events summary").first().click();
  await look("request-events");
  await page.getByRole("link", { name: "Dead letters" }).click();
  await page.waitForSelector(".letter");
  await look("dead-letters");
}

if (scripted) {
  await stubbed("every_operators_page_is_sound_in_light_and_dark", async (context, stub) => {
    const page = await open(context, "overview", { at: stub.url });
    await tour(page, `tour ${Date.now()}`, async (what) => {
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: `${shots}/app-${colorScheme}-ops-${what}.png` });
        // In the dark only the colours are others; what one page has above and below is looked at once. The long run looks at all.
        const rules = !long && colorScheme === "dark" ? ["color-contrast"] : undefined;
        if (long || !["overview", "overview-below", "money", "requests"].includes(what)) await axe(page, `${colorScheme}, ${what}`, rules);
      }
      await page.emulateMedia({ colorScheme: "light" });
    });
  });

  await stubbed("every_operators_page_fits_a_phone", async (context, stub) => {
    const page = await open(context, "overview", { at: stub.url });
    await tour(page, `phone ${Date.now()}`, async (what) => {
      await page.screenshot({ path: `${shots}/app-phone-ops-${what}.png` });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${what}: the page is ${wide} px too wide`);
      const small = await page.evaluate(() => [...document.querySelectorAll("button, select, a[href], input, summary")].filter((node) => {
        const { width, height } = node.getBoundingClientRect();
        return node.checkVisibility({ visibilityProperty: true }) && width > 1 && (width < 24 || height < 24);
      }).map((node) => node.outerHTML.slice(0, 120)));
      assert.deepEqual(small, [], "targets are 24 px or more");
      assert.equal(await page.evaluate(() => document.documentElement.scrollHeight - innerHeight), 0, `${what}: the page itself does not scroll`);
    });
  }, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
}

await finish();
