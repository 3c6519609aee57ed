// Fails where a package has outgrown its budget: what a page loads of it, minified and gzipped.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";

/** `later`: what is loaded only where it is needed (the client's fallback from WebSockets). */
const BUDGETS = { client: { first: 8_000, later: 1_500 }, react: { first: 1_000, later: 0 } };

let over = false;
for (const [name, budget] of Object.entries(BUDGETS)) {
  const { outputFiles, metafile } = await build({
    entryPoints: [`${name}/src/index.ts`],
    absWorkingDir: import.meta.dirname,
    bundle: true,
    splitting: true,
    minify: true,
    format: "esm",
    target: "es2022",
    external: ["react", "@tidewire/client"],
    outdir: "size",
    metafile: true,
    write: false,
  });
  const outputs = metafile.outputs;
  const entry = Object.keys(outputs).find((path) => outputs[path].entryPoint === `${name}/src/index.ts`);
  // The entry, and all that it loads at once.
  const first = new Set([entry]);
  for (const path of first) {
    for (const { path: next, kind, external } of outputs[path].imports) {
      if (kind === "import-statement" && !external) first.add(next);
    }
  }
  const parts = { first: [], later: [] };
  for (const { path, contents } of outputFiles) {
    parts[[...first].some((loaded) => path.endsWith(loaded)) ? "first" : "later"].push(contents);
  }
  for (const [part, files] of Object.entries(parts)) {
    if (!files.length) continue;
    // As one file: a page's bundle has them in one.
    const bytes = gzipSync(Buffer.concat(files), { level: 9 }).length;
    const bar = budget[part];
    over ||= bytes > bar;
    console.log(
      `size: @tidewire/${name}, ${part === "first" ? "at once" : "where needed"}: ${bytes} of ${bar} bytes gzipped`,
    );
  }
}
if (over) {
  console.error("size: over budget");
  process.exit(1);
}
