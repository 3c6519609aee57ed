"""The official Anthropic client speaks to Anthropic, OpenAI and Gemini through a server: python round_trip.py URL PROVIDERS.

What matters of a request must reach Anthropic as it was said; the others must not be sent what they refuse.
"""

import json
import sys
import urllib.request

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=60)
CACHED = {"type": "ephemeral"}
REQUEST = {
    "max_tokens": 9000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": CACHED}],
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "when?", "cache_control": CACHED},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "signed"}, {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {"z": 1, "a": [1.5]}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "noon"}], "is_error": False},
            {"type": "text", "text": "so?"}]},
    ],
    "tools": [{"name": "tide", "description": "d", "input_schema": {"type": "object", "properties": {"z": {}, "a": {}}},
               "cache_control": CACHED}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "mo"},
}


def asked():
    """The last request that reached a provider."""
    with urllib.request.urlopen(f"{sys.argv[2]}/asked") as answer:
        return json.load(answer)["body"]


with client.messages.stream(model="anthropic-text", **REQUEST) as stream:
    final = stream.get_final_message()
assert final.content[-1].type == "text" and final.content[-1].text and final.stop_reason == "end_turn", final
sent = asked()
for name, value in REQUEST.items():
    assert sent[name] == value, f"{name}: {sent.get(name)} is not {value}"
assert list(sent["tools"][0]["input_schema"]["properties"]) == ["z", "a"], "a schema keeps its order"
unknown = set(sent) - set(REQUEST) - {"model", "stream"}
assert not unknown, unknown
called = client.messages.create(model="anthropic-tools", **REQUEST)
assert any(block.type == "tool_use" for block in called.content) and called.stop_reason == "tool_use", called
for provider in ("openai", "gemini"):
    answer = client.messages.create(model=f"{provider}-text", **REQUEST)
    assert answer.content[-1].text, answer
    text = json.dumps(asked())
    for mark in ("cache_control", "thinking_blocks", "messages_api", "budget_tokens", "is_error"):
        assert mark not in text, f"{provider} was sent {mark}: {text}"
assert json.dumps(asked()).count("Be brief.") == 1
for model, kind in (("anthropic-rate", anthropic.RateLimitError), ("anthropic-context", anthropic.BadRequestError)):
    try:
        client.messages.create(model=model, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        raise AssertionError(f"{model} was answered")
    except kind as error:
        assert error.body["type"] == "error" and error.body["error"]["code"], error.body
print("ok      python (anthropic): a request reaches Anthropic as it was said, and OpenAI and Gemini in their words")
