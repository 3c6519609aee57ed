// What the web app's tests stand on, beside harness.mjs: answers of a chosen text and pace, and the app's own elements.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { PACE, base, scripted } from "./harness.mjs";

// A built app that the server under test does not have in it is served from this folder, with the server's policy.
const dist = process.env.TIDEWIRE_WEB_DIST;
const KINDS = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async function serve(context) {
  if (!dist) return;
  await context.route((url) => url.href.startsWith(base) && /^(\/|\/assets\/.*|\/theme\.js|\/icon\.svg)$/.test(url.pathname), async (route) => {
    const { pathname } = new URL(route.request().url());
    const file = pathname === "/" ? "index.html" : pathname.slice(1);
    await route.fulfill({ body: await readFile(join(dist, file)), headers: { "content-type": KINDS[extname(file)], "content-security-policy": POLICY } });
  });
}

/** Opens the app at a place; `pace` says how its answers come, `frames` keeps what went over the wire. */
export async function open(context, { pace = PACE.short, place = "", page } = {}) {
  const fresh = !page;
  if (fresh) {
    await serve(context);
    page = await context.newPage();
    page.seen = { up: [], sockets: [] };
    page.pace = pace;
    await page.routeWebSocket(/\/v1\/ws/, (socket) => {
      const server = socket.connectToServer();
      page.seen.sockets.push(socket);
      socket.onMessage((text) => {
        const frame = JSON.parse(text);
        if (frame.op === "submit") Object.assign(frame.task.input, scripted ? { script: page.pace } : { max_tokens: page.pace.tokens, temperature: 0 });
        page.seen.up.push(frame);
        server.send(JSON.stringify(frame));
      });
    });
  }
  await page.goto(`${base}${place}`);
  await page.waitForSelector('#link[data-state="open"]');
  return page;
}

export async function say(page, text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
}

/** Waits for the n-th answer (from 0) to be in one of these states, with so much text at least. */
export async function reach(page, n, states, length = 0) {
  await page.waitForFunction(([n, states, length]) => {
    const answer = document.querySelectorAll(".turn .answer")[n];
    return answer && states.includes(answer.dataset.state) && (answer.querySelector(".prose")?.textContent.length ?? 0) >= length;
  }, [n, states, length]);
  return page.locator(".turn .answer").nth(n);
}

/** The text as the page holds it, by its own Copy button: what is shown is elements, this is the log's text. */
export async function copied(page, answer) {
  await page.bringToFront();
  await answer.getByRole("button", { name: "Copy answer" }).click();
  await answer.getByText("Copied").waitFor();
  return page.evaluate(() => navigator.clipboard.readText());
}

export const taskOf = (answer) => answer.getAttribute("data-task");
export const kept = async (task) => (await fetch(`${base}v1/tasks/${task}/text`)).text();

/** What the page has is what is in the log, to the byte. */
export async function sameText(page, answer) {
  const text = await copied(page, answer);
  assert.ok(text.length > 0, "the answer is empty");
  assert.deepEqual(Buffer.from(text), Buffer.from(await kept(await taskOf(answer))));
  return text;
}
