// The operators' pages in a real browser: live figures, the explorer, dead letters, money and keys.
// Usage: node operations.mjs URL FOLDER [part of a test's name]. TIDEWIRE_TEST_PROGRAM names the program, for a server with keys.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { base, finish, scripted, shots, test as run } from "./harness.mjs";
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

const open = (context, place, options = {}) => openApp(context, { place: `#/operations/${place}`, ...options });
const source = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

async function axe(page, what) {
  await page.evaluate(source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  assert.deepEqual(violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`), []);
}

const post = async (path, body, at = base) => {
  const answer = await fetch(`${at}v1/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  return answer.json();
};
const submit = (script, rest = {}) => post("tasks", { input: { messages: [{ role: "user", content: "Why is the sea salty?" }], script }, ...rest });
const ended = (id) => fetch(`${base}v1/tasks/${id}/text?wait_ms=30000`).then((answer) => answer.text());
const FAILS = { tokens: 40, delay_ms: 2, fail_at: 20, fault: "invalid" };

const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};
for (const [name, options] of Object.entries(LOOKS)) {
  await stubbed(`every_operators_page_is_sound_and_shown_${name}`, async (context, stub) => {
    const look = async (page, what) => {
      await page.screenshot({ path: `${shots}/app-${name}-${what}.png` });
      await axe(page, `${name}, ${what}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${what}: the page is ${wide} px too wide`);
      const small = await page.evaluate(() => [...document.querySelectorAll("button, select, a[href], input, summary")].filter((node) => {
        const { width, height } = node.getBoundingClientRect();
        return node.checkVisibility({ visibilityProperty: true }) && width > 1 && (width < 24 || height < 24);
      }).map((node) => node.outerHTML.slice(0, 120)));
      assert.deepEqual(small, [], "targets are 24 px or more");
    };
    const page = await open(context, "overview", { at: stub.url });
    await page.waitForSelector(".spark path");
    await page.locator("#hour").scrollIntoViewIfNeeded();
    if (name !== "phone") await page.waitForSelector(".uplot canvas");
    await look(page, "ops-overview");
    await page.locator("#machine").scrollIntoViewIfNeeded();
    await page.waitForFunction(() => document.querySelectorAll(".uplot canvas").length > 1);
    await look(page, "ops-overview-below");
    await page.getByRole("link", { name: "Deployments" }).click();
    await page.waitForSelector(".strip-hour");
    await look(page, "ops-deployments");
    await page.getByRole("link", { name: "Money" }).click();
    await page.waitForSelector(".budget");
    await look(page, "ops-money");
    await page.locator(".axis, #cost ~ .chart").last().scrollIntoViewIfNeeded();
    await page.waitForSelector(".days svg");
    await page.getByText(/^\$[\d,.]+ and .* tasks in 30 days/).scrollIntoViewIfNeeded();
    await look(page, "ops-money-below");
    const { id } = await submit({ tokens: 60, delay_ms: 4, fail_at: 30, fault: "broken", fail_attempts: 1, continues: false, key: `look ${name} ${Date.now()}` });
    await ended(id);
    await ended((await submit(FAILS)).id);
    await page.getByRole("link", { name: "Requests" }).click();
    await page.waitForSelector(".request");
    await look(page, "ops-requests");
    await page.locator(`.request[href*="${id}"]`).click();
    await page.waitForSelector(".story .compact");
    await look(page, "ops-request");
    await page.getByRole("button", { name: "Timeline" }).click();
    await page.waitForSelector(".timeline li");
    await look(page, "ops-request-timeline");
    await page.getByRole("button", { name: "Events" }).click();
    await page.waitForSelector(".events li");
    await page.locator(".events summary").first().click();
    await look(page, "ops-request-events");
    await page.getByRole("link", { name: "Dead letters" }).click();
    await page.waitForSelector(".letter");
    await look(page, "ops-dead-letters");
    await page.getByRole("link", { name: "Keys" }).click();
    await page.getByRole("heading", { name: "Audit log" }).waitFor();
    await look(page, "ops-keys-empty");
  }, options);
}

await finish();
