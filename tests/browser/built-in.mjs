// The web app on the built-in model, as who has just installed it has it: what a person asks is answered by a real model, over
// kills and with fifty files. Usage: node built-in.mjs URL FOLDER [part of a test's name], with the URL of a server that has it.
import assert from "node:assert/strict";
import { finish, scripted } from "./harness.mjs";
import { open, reach, sameText, say, test } from "./app-harness.mjs";
import { ownServer, program } from "./own-server.mjs";

const STORY = "Tell me a long story about the sea and its people.";

assert.equal(scripted, false, "the server at this URL has the scripted backend");

await test("a_real_model_answers_over_a_kill_of_its_server", async (context) => {
  const server = await ownServer({ config: "" });
  try {
    // So many tokens take seconds: the kill meets the model in the middle of them.
    const page = await open(context, { at: server.url, pace: { tokens: 600 } });
    await say(page, STORY);
    await reach(page, 0, ["running"], 40);
    await server.kill();
    await page.waitForSelector('#link:not([data-state="open"])');
    await server.start();
    const answer = await reach(page, 0, ["done"]);
    await sameText(page, answer, server.url);
    assert.equal(await page.locator(".turn").count(), 1);
  } finally {
    await server.end();
  }
});

await test("fifty_files_are_answered_while_the_chat_goes_on", async (context) => {
  const page = await open(context, { place: "#/tasks" });
  await page.fill("#ask", "In one sentence: what is this note about?");
  const files = Array.from({ length: 50 }, (_, n) => ({ name: `note-${n}.md`, mimeType: "text/markdown", buffer: Buffer.from(`# Note ${n}\n\nThe ferry to island ${n} goes at noon.`) }));
  await page.setInputFiles('input[type="file"]', files);
  await page.getByRole("button", { name: "Submit 50 tasks" }).click();
  await page.getByText(/^50: /).waitFor();
  const there = page.url();
  await page.getByRole("link", { name: "Chat", exact: true }).click();
  await say(page, "What is a ferry?");
  await sameText(page, await reach(page, 0, ["done"]));
  await page.goto(there);
  await page.getByText("50: 50 done").waitFor({ timeout: 300_000 });
});

await finish();
