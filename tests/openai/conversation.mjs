// The official OpenAI client for JavaScript holds one conversation with each provider: node conversation.mjs URL PROVIDERS.
import assert from "node:assert/strict";
import OpenAI from "openai";

const base = process.argv[2].replace(/\/$/, "");
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0, timeout: 60_000 });
const TEXT = 'Grüße aus\n"Köln" 🙂漢';
const tools = ["get_weather", "get_time"].map((name) => ({
  type: "function", function: { name, description: "Tells.", parameters: { type: "object", properties: {} } },
}));
const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "The weather in Köln, and the time?" }];
let passed = 0;
let failed = 0;

async function test(name, body) {
  try {
    await body();
    passed += 1;
    console.log(`ok      javascript: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  javascript: ${name}\n${error.stack ?? error}`);
  }
}

for (const provider of ["openai", "anthropic", "gemini"]) {
  await test(`${provider}: an_answer_is_the_same_streamed_and_whole`, async () => {
    const whole = await client.chat.completions.create({ model: `${provider}-text`, messages });
    assert.equal(whole.choices[0].message.content, TEXT);
    let text = "";
    for await (const chunk of await client.chat.completions.create({ model: `${provider}-text`, messages, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
    }
    assert.equal(text, TEXT);
  });
  await test(`${provider}: the_stream_helper_gathers_the_calls_of_tools`, async () => {
    const runner = client.chat.completions.stream({ model: `${provider}-tools`, messages, tools });
    const { choices: [{ message }] } = await runner.finalChatCompletion();
    const [weather, time] = message.tool_calls;
    assert.equal(weather.function.name, "get_weather");
    assert.match(JSON.parse(weather.function.arguments).city, /^(Köln|Paris)$/);
    assert.equal(time.function.name, "get_time");
  });
  await test(`${provider}: a_context_that_is_too_long_is_a_bad_request`, async () => {
    const asking = client.chat.completions.create({ model: `${provider}-context`, messages });
    await assert.rejects(asking, (error) => error instanceof OpenAI.BadRequestError && error.code === "context_too_long");
  });
}
console.log(`javascript, providers: ${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
