// What the READMEs show runs, on a real server.
import { transformSync } from "esbuild";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as sdk from "@tidewire/client";
import { client, Server } from "./server.js";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(() => server.end());

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const examples = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code!);

/** What each of them says at its end. */
const SAID = [
  [["done", 226, { input_tokens: 5, output_tokens: 50 }]],
  [
    ["stopped", expect.any(String)],
    ["unknown_model", undefined, undefined, undefined],
  ],
  [
    [2, 0, 2],
    [2, 1],
  ],
];

test.each(examples.map((code, n) => [n, code] as const))("example %i runs", async (n, code) => {
  // Node 20 has no WebSocket; and the server is at another port.
  const connect = () => client(server.url);
  const said: unknown[][] = [];
  const { code: plain } = transformSync(code.replaceAll(/^import .*$/gm, ""), { loader: "ts" });
  const Run = Object.getPrototypeOf(async () => {}).constructor as new (
    ...source: string[]
  ) => (...values: unknown[]) => Promise<void>;
  const run = new Run("connect", "TidewireError", "console", plain);
  await run(connect, sdk.TidewireError, { log: (...words: unknown[]) => said.push(words) });
  const expected = SAID[n]!;
  expect(said.slice(-expected.length)).toEqual(expected);
});

test("all examples of the README are looked at", () => {
  expect(examples).toHaveLength(SAID.length);
});
