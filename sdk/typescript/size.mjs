// Fails where a package has outgrown its budget: what a page would load, minified and gzipped.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";

const BUDGETS = { client: 8_000, react: 1_000 };

let over = false;
for (const [name, budget] of Object.entries(BUDGETS)) {
  const built = await build({
    entryPoints: [new URL(`${name}/src/index.ts`, import.meta.url).pathname],
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    external: ["react", "@tidewire/client"],
    write: false,
  });
  const bytes = built.outputFiles[0].contents;
  const size = gzipSync(bytes, { level: 9 }).length;
  console.log(`size: @tidewire/${name} ${size} bytes gzipped of ${budget} (${bytes.length} minified)`);
  over ||= size > budget;
}
if (over) {
  console.error("size: over budget");
  process.exit(1);
}
