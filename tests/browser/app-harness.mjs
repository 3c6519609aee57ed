// What the web app's tests stand on, beside harness.mjs: answers of a chosen text and pace, and the app's own elements.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { PACE, base, scripted, test as run } from "./harness.mjs";

export const test = (name, body, options = {}) => run(name, async (context) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await body(context);
}, options);

export const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  phone: { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
};

const source = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

export async function axe(page, what) {
  await page.evaluate(source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  assert.deepEqual(violations.map(({ id, nodes }) => `${what}: ${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`), []);
}

/** What can be pressed and is smaller than a finger. */
export const small = (page) => page.evaluate(() => [...document.querySelectorAll("button, select, a[href], textarea, summary")].filter((node) => {
  const { width, height } = node.getBoundingClientRect();
  return node.checkVisibility({ visibilityProperty: true }) && !node.closest(".prose, .figures") && width > 1 && (width < 24 || height < 24);
}).map((node) => node.outerHTML.slice(0, 120)));

// A built app that the server under test does not have in it is served from this folder, with the server's policy.
const dist = process.env.TIDEWIRE_WEB_DIST;
const KINDS = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async function serve(context, at) {
  if (!dist) return;
  await context.route((url) => url.href.startsWith(at) && /^(\/|\/assets\/.*|\/theme\.js|\/icon\.svg)$/.test(url.pathname), async (route) => {
    const { pathname } = new URL(route.request().url());
    const file = pathname === "/" ? "index.html" : pathname.slice(1);
    await route.fulfill({ body: await readFile(join(dist, file)), headers: { "content-type": KINDS[extname(file)], "content-security-policy": POLICY } });
  });
}

/** Opens the app in a new tab; `pace` says how its answers come (or of the n-th, as a function), and `seen` of the tab what went over the wire. */
export async function open(context, { pace = PACE.short, place = "", at = base, wait = '#link[data-state="open"]' } = {}) {
  await serve(context, at);
  const page = await context.newPage();
  page.seen = { up: [], sockets: [] };
  page.pace = pace;
  page.broken = false;
  page.submits = 0;
  await page.routeWebSocket(/\/v1\/ws/, (socket) => {
    page.seen.sockets.push(socket);
    if (page.broken) return socket.close({ code: 4000 });
    const server = socket.connectToServer();
    // What the scripted backend does not do, a test may put into the frames on their way.
    server.onMessage((text) => {
      if (!page.down) return socket.send(text);
      const frame = JSON.parse(text);
      page.down(frame);
      socket.send(JSON.stringify(frame));
    });
    socket.onMessage((text) => {
      const frame = JSON.parse(text);
      if (frame.op === "submit") {
        frame.task.input ??= { messages: [{ role: "user", content: frame.task.prompt }] };
        delete frame.task.prompt;
        if (page.model) frame.task.model = page.model;
        const pace = typeof page.pace === "function" ? page.pace(page.submits++) : page.pace;
        Object.assign(frame.task.input, scripted ? { script: pace } : { max_tokens: pace.tokens, temperature: 0, dry_multiplier: 0 });
      }
      page.seen.up.push(frame);
      server.send(JSON.stringify(frame));
    });
  });
  // A batch goes over HTTP.
  await page.route("**/v1/tasks/batch", async (route) => {
    if (route.request().method() !== "POST" || !scripted) return route.continue();
    const body = route.request().postDataJSON();
    const messages = ({ input, prompt }) => input ?? { messages: [{ role: "user", content: prompt }] };
    body.tasks = body.tasks.map((task, index) => ({ ...task, prompt: undefined, input: { ...messages(task), script: typeof page.pace === "function" ? page.pace(index) : page.pace } }));
    await route.continue({ postData: JSON.stringify(body) });
  });
  await page.goto(`${at}${place}`);
  await page.waitForSelector(wait);
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
export const kept = async (task, at = base) => (await fetch(`${at}v1/tasks/${task}/text`)).text();
export const record = async (task) => (await fetch(`${base}v1/tasks/${task}`)).json();

/** What the page has is what is in the log, to the byte. */
export async function sameText(page, answer, at = base) {
  const text = await copied(page, answer);
  assert.ok(text.length > 0, "the answer is empty");
  assert.deepEqual(Buffer.from(text), Buffer.from(await kept(await taskOf(answer), at)));
  return text;
}

/** A generator that repeats for a seed. */
export function random(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
