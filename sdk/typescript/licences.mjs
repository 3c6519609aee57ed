// Fails where a development package has a licence that asks more than to be named.
import { readFileSync } from "node:fs";

const FREE = new Set(["MIT", "Apache-2.0", "ISC", "BSD-2-Clause", "BSD-3-Clause", "0BSD"]);

const lock = JSON.parse(readFileSync(new URL("package-lock.json", import.meta.url), "utf8"));
let packages = 0;
let others = 0;
for (const [path, { license, link }] of Object.entries(lock.packages)) {
  if (link || path === "") continue;
  packages += 1;
  if (FREE.has(license)) continue;
  others += 1;
  console.error(`licences: ${path}: ${license ?? "none is named"}`);
}
if (others) process.exit(1);
console.log(`licences: ${packages} packages, all permissive`);
