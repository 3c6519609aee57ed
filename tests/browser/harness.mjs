// What the page's tests stand on: a browser, a context for each test, and a wire that a test can cut.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
  // A page that a test serves itself has no network address, and so would not reach a server on this machine.
  "--disable-features=LocalNetworkAccessChecks"];
// The longest wait for anything: two answers of the built-in model on a busy machine of two cores.
const PATIENCE_MS = 60_000;

export const base = process.argv[2]?.replace(/\/?$/, "/");
export const shots = process.argv[3];
const only = new RegExp(process.argv[4] ?? "");

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS });
const counts = { passed: 0, failed: 0 };

/** Runs one test in a context of its own: fresh storage, and no page error may pass unseen. */
export async function test(name, body, options = {}) {
  if (!only.test(name)) return;
  const context = await browser.newContext({ viewport: { width: 1200, height: 860 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const errors = [];
  const began = Date.now();
  context.on("weberror", (error) => errors.push(String(error.error())));
  context.on("console", (message) => {
    // Chromium logs a cut or refused connection itself.
    if (message.type() === "error" && !/WebSocket|Failed to load resource|net::ERR/.test(message.text())) errors.push(message.text());
  });
  try {
    await body(context);
    assert.deepEqual(errors, [], "errors in the page's console");
    counts.passed += 1;
    console.log(`ok      ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    counts.failed += 1;
    console.log(`FAILED  ${name}\n        ${String(error.stack ?? error).replaceAll("\n", "\n        ")}`);
  }
  await context.close();
}

export async function finish() {
  await browser.close();
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exit(counts.failed ? 1 : 0);
}

const models = await fetch(`${base}v1/models`).then((answer) => answer.json(), async (error) => {
  console.log(`FAILED  no server answers at ${base}: ${error.cause?.message ?? error}`);
  counts.failed += 1;
  await finish();
});
export const model = (models.data.find(({ id }) => id.includes("scripted")) ?? models.data[0])?.id;
export const scripted = Boolean(model?.includes("scripted"));

/**
 * How long and how fast an answer is. The scripted backend is told so in the request; a real model writes what it
 * writes, up to as many tokens: the likeliest words, which it may well say over and over.
 */
export const PACE = {
  short: { tokens: 20, delay_ms: 5 },
  long: { tokens: 200, delay_ms: 15 },
  endless: { tokens: 2_000, delay_ms: 50 },
};

/**
 * Stands between the page and the server. `pace` sets the answers' length; `up` and `down` see each frame, and may
 * return false to drop it. `frames` and `sockets` tell what went by.
 */
export async function wire(page, { pace = PACE.short, up = () => true, down = () => true, refuse = () => false } = {}) {
  const seen = { up: [], down: [], sockets: [] };
  await page.routeWebSocket(/\/v1\/ws$/, (socket) => {
    seen.sockets.push(socket);
    if (refuse()) return socket.close({ code: 4000 });
    const server = socket.connectToServer();
    socket.onMessage((text) => {
      const frame = JSON.parse(text);
      if (frame.op === "submit") Object.assign(frame.task.input, scripted ? { script: pace } : { max_tokens: pace.tokens, temperature: 0, dry_multiplier: 0 });
      seen.up.push(frame);
      if (up(frame, socket) !== false) server.send(JSON.stringify(frame));
    });
    server.onMessage((text) => {
      const frame = JSON.parse(text);
      seen.down.push(frame);
      if (down(frame, socket) !== false) socket.send(text);
    });
  });
  return seen;
}

// A server with the web app in it has the plain page's files all the same; the page itself comes from here.
const plain = process.env.TIDEWIRE_PLAIN_PAGE;

export async function open(context, options) {
  const body = plain && (await readFile(`${plain}/index.html`, "utf8"));
  if (body) await context.route((url) => url.href === base, (route) => route.fulfill({ body, contentType: "text/html; charset=utf-8" }));
  const page = await context.newPage();
  const seen = options === null ? null : await wire(page, options);
  await page.goto(base);
  await page.waitForSelector('#link[data-state="open"]');
  if (model) await page.selectOption("#model", model);
  return { page, seen };
}

export async function say(page, text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
}

/** Waits until what is read is what is wanted: a value, or a text that a pattern finds. The page shows what an action did a moment after it. */
export async function until(read, wanted, message) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const now = await read();
    try {
      return wanted instanceof RegExp ? assert.match(now, wanted, message) : assert.deepEqual(now, wanted, message);
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await new Promise((pass) => setTimeout(pass, 20));
  }
}

/** Waits for the n-th turn (from 0) to be in one of these states, with so much text at least. */
export async function reach(page, n, states, length = 0) {
  await page.waitForFunction(([n, states, length]) => {
    const turn = document.querySelectorAll(".turn")[n];
    return turn && states.includes(turn.dataset.state) && turn.querySelector(".text").textContent.length >= length;
  }, [n, states, length]);
  return page.locator(".turn").nth(n);
}

export const shown = (turn) => turn.locator(".text").evaluate((node) => node.textContent);
export const taskOf = (turn) => turn.getAttribute("data-task");
export const kept = (task) => fetch(`${base}v1/tasks/${task}/text`).then((answer) => answer.text());
export const record = (task) => fetch(`${base}v1/tasks/${task}`).then((answer) => answer.json());

/** What is on the screen is what is in the log, to the byte. */
export async function sameText(turn) {
  const text = await shown(turn);
  assert.ok(text.length > 0, "the answer is empty");
  assert.deepEqual(Buffer.from(text), Buffer.from(await kept(await taskOf(turn))));
  return text;
}
