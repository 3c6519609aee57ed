// What the app weighs, beside its bars: first load and each page, gzipped as it is sent. Over a bar is a failure.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const app = new URL("./dist/app/", import.meta.url).pathname;
const html = readFileSync(join(app, "index.html"), "utf8");
const size = (name) => statSync(join(app, `${name}.gz`)).size;
const first = [...html.matchAll(/(?:src|href)="\.\/([^"]+\.(?:js|css))"/g)].map(([, name]) => name);
const all = readdirSync(join(app, "assets"))
  .filter((name) => /\.(js|css)$/.test(name))
  .map((name) => `assets/${name}`);
const sum = (names, end) => names.filter((name) => name.endsWith(end)).reduce((total, name) => total + size(name), 0);
const later = all.filter((name) => !first.includes(name));

const KB = 1000;
const rows = [
  ["first load, JS", sum(first, ".js"), 130 * KB],
  ["first load, CSS", sum(first, ".css"), 12 * KB],
  // A page beyond the chat is loaded when it is looked at; no bar is set for it, so the smallest chart's holds.
  // uPlot is there once for all charts, and only once one of them is looked at.
  ...later.map((name) => [
    name.replace(/^assets\/(\w+)-.*(\.\w+)$/, "later: $1$2"),
    size(name),
    (/^assets\/uplot-.*\.js$/.test(name) ? 24 : 8) * KB,
  ]),
];
let over = 0;
for (const [what, bytes, bar] of rows) {
  if (bytes > bar) over += 1;
  console.log(
    `${what.padEnd(28)} ${(bytes / KB).toFixed(1).padStart(7)} kB   bar ${(bar / KB).toFixed(0).padStart(4)} kB   ${bytes > bar ? "OVER" : "ok"}`,
  );
}
process.exit(over ? 1 : 0);
