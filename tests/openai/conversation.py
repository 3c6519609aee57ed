"""The official OpenAI client for Python holds one conversation with each provider: python conversation.py URL PROVIDERS."""

import json
import sys
import traceback
import urllib.request

import openai

base, providers = sys.argv[1].rstrip("/"), sys.argv[2]
client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=60)
# What the transcripts say.
TEXTS = dict.fromkeys(("openai", "anthropic", "gemini"), 'Grüße aus\n"Köln" 🙂漢') | {"azure": "Grüße aus Köln"}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "Tells.", "parameters": {"type": "object", "properties": {}}}}
    for name in ("get_weather", "get_time")
]
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The weather in Köln, and the time?"}]
passed = failed = 0


def asked():
    """What reached the provider last."""
    with urllib.request.urlopen(f"{providers}/asked", timeout=60) as answer:
        return json.load(answer)


def tests(provider):
    def chat(transcript, **fields):
        return client.chat.completions.create(model=f"{provider}-{transcript}", **{"messages": QUESTION, **fields})

    text = TEXTS[provider]

    def a_plain_answer_is_whole_and_counted():
        answer = chat("text")
        assert answer.choices[0].message.content == text, answer
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
        request = asked()
        assert request["provider"] == provider
        assert any("a-key-of-a-provider" in value for value in request["headers"].values())

    def a_streamed_answer_is_the_same():
        chunks = list(chat("text", stream=True, stream_options={"include_usage": True}))
        assert "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices) == text
        assert chunks[-1].usage.completion_tokens > 0
        assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]

    def tools_are_called_and_their_results_go_back():
        answer = chat("tools", tools=TOOLS).choices[0]
        assert answer.finish_reason == "tool_calls"
        weather, time = answer.message.tool_calls
        assert weather.function.name == "get_weather" and json.loads(weather.function.arguments) in ({"city": "Köln"}, {"city": "Paris"})
        assert time.function.name == "get_time" and json.loads(time.function.arguments or "{}") == {}
        assert weather.id and time.id and weather.id != time.id
        results = [{"role": "tool", "tool_call_id": call.id, "content": said} for call, said in ((weather, "rain"), (time, "noon"))]
        answer = chat("text", messages=[*QUESTION, answer.message.model_dump(exclude_none=True), *results], tools=TOOLS)
        assert answer.choices[0].message.content == text
        sent = json.dumps(asked()["body"], ensure_ascii=False)
        assert "rain" in sent and "noon" in sent and "get_weather" in sent, sent

    def a_providers_errors_are_the_clients_exceptions():
        for transcript, kinds, code in (
            ("rate", (openai.RateLimitError, openai.InternalServerError), "upstream_rate_limited"),
            ("key", (openai.InternalServerError,), "upstream_unauthorized"),
            ("context", (openai.BadRequestError,), "context_too_long"),
        ):
            for stream in (False, True):
                try:
                    list(chat(transcript, stream=stream))
                except kinds as error:
                    assert error.code == code, (transcript, error.code)
                    assert "a-key-of" not in str(error)
                else:
                    raise AssertionError(f"{transcript}: no error")

    skipped = {"azure": ["tools", "context"]}.get(provider, [])
    for test in (
        a_plain_answer_is_whole_and_counted,
        a_streamed_answer_is_the_same,
        *([] if "tools" in skipped else [tools_are_called_and_their_results_go_back]),
        *([] if "context" in skipped else [a_providers_errors_are_the_clients_exceptions]),
    ):
        yield test


for provider in ("openai", "anthropic", "gemini", "azure"):
    for test in tests(provider):
        try:
            test()
        except Exception:
            failed += 1
            print(f"FAILED  python: {provider}: {test.__name__}")
            traceback.print_exc()
        else:
            passed += 1
            print(f"ok      python: {provider}: {test.__name__}", flush=True)
print(f"python, providers: {passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
