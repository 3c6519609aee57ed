// What the README shows runs. Read from the folder in which the tests are started: this environment has no file URLs.
import { transformSync } from "esbuild";
import { readFileSync } from "node:fs";
import * as React from "react";
import { createRoot, type Root } from "react-dom/client";
import { expect, test } from "vitest";
import * as hooks from "@tidewire/react";
import { World } from "../../client/test/unit/world.js";

test("the example of the README runs", async () => {
  const readme = readFileSync("react/README.md", "utf8");
  const code = /```tsx\n(.*?)```/s.exec(readme)![1]!.replaceAll(/^import .*$/gm, "");
  const { code: plain } = transformSync(code, { loader: "tsx", jsx: "transform" });
  const world = new World();
  const client = world.connect();
  document.body.innerHTML = "<main></main>";
  const roots: Root[] = [];
  const scope = {
    ...hooks,
    React,
    connect: () => client,
    createRoot: (element: Element) => {
      const root = createRoot(element);
      roots.push(root);
      return root;
    },
  };
  const Run = Object.getPrototypeOf(async () => {}).constructor as new (
    ...source: string[]
  ) => (...values: unknown[]) => Promise<void>;
  await world.open();
  await world.finish(new Run(...Object.keys(scope), plain)(...Object.values(scope)));
  for (let turn = 0; turn < 3; turn++) {
    await world.flow();
    world.clock.paint();
    await world.clock.advance(100);
  }
  expect(document.body.textContent).toMatch(/^0 aheadopen over websocket, \d+ ms$/);
  for (const root of roots) root.unmount();
  client.close();
});
