"""The official Anthropic client for Python, unchanged but for its base URL: python messages.py URL (of a server with the model `scripted`)."""

import sys
import traceback

import anthropic

BASE = sys.argv[1].rstrip("/")
MODEL = "scripted"
PATIENCE_S = 120

client = anthropic.Anthropic(base_url=BASE, api_key="none", max_retries=0, timeout=PATIENCE_S)
passed = failed = 0
CALL = [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "tide", "arguments": '{"port":"Brest"}'}}]
TOOLS = [{"name": "tide", "description": "The tide at a port.",
          "input_schema": {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}}]


def test(body):
    """Runs one test and counts it."""
    global passed, failed
    try:
        body()
    except Exception:
        failed += 1
        print(f"FAILED  python: {body.__name__}")
        traceback.print_exc()
    else:
        passed += 1
        print(f"ok      python: {body.__name__}", flush=True)


def ask(script, content="go", **fields):
    """The fields of a request that the scripted backend plays."""
    messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    return {"model": MODEL, "max_tokens": 100, "messages": messages,
            "extra_body": {"script": {"delay_ms": 1, **script}}, **fields}


def raises(kind, call):
    """The error of this kind that the call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


@test
def a_message_has_text_and_usage():
    message = client.messages.create(**ask({"tokens": 4}, system="Be brief.", stop_sequences=["x"]))
    assert [block.text for block in message.content] == ["w0 w1 w2 w3 "], message
    assert (message.type, message.role, message.model, message.stop_reason) == ("message", "assistant", MODEL, "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4), message.usage
    assert message.id.startswith("msg_") and message._request_id is None
    assert client.messages.create(**ask({"tokens": 2, "finish_reason": "length"})).stop_reason == "max_tokens"


@test
def a_streamed_message_has_anthropics_events_in_their_order():
    with client.messages.stream(**ask({"tokens": 3, "reasoning": "hm"})) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    for kind in ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"):
        assert kind in kinds, kinds
    assert kinds[-1] == "message_stop"
    assert [block.type for block in final.content] == ["thinking", "text"] and final.content[0].thinking == "hm"
    assert final.content[1].text == "w0 w1 w2 " and final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (1, 3), final.usage
    raw = list(client.messages.create(stream=True, **ask({"tokens": 3})))
    assert [event.type for event in raw] == ["message_start", "content_block_start", *["content_block_delta"] * 3,
                                             "content_block_stop", "message_delta", "message_stop"]


@test
def a_tool_is_called_and_its_result_is_answered_to():
    script = {"text": "I look. ", "tokens": 2, "tool_calls": CALL, "finish_reason": "tool_calls"}
    first = client.messages.create(**ask(script, tools=TOOLS, tool_choice={"type": "any"}))
    text, call = first.content
    assert (call.type, call.name, call.input, first.stop_reason) == ("tool_use", "tide", {"port": "Brest"}, "tool_use")
    with client.messages.stream(**ask(script, tools=TOOLS)) as stream:
        final = stream.get_final_message()
    assert final.content[1].input == {"port": "Brest"} and final.stop_reason == "tool_use"
    conversation = [
        {"role": "user", "content": "when?"}, {"role": "assistant", "content": [text.to_dict(), call.to_dict()]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "high at noon"},
                                     {"type": "text", "text": "so?"}]}]
    second = client.messages.create(**ask({"text": "At noon."}, conversation, tools=TOOLS))
    # The scripted backend counts words: when? I look. high at noon so?
    assert second.content[0].text == "At noon." and second.usage.input_tokens == 7, second.usage


@test
def images_documents_and_thoughts_are_taken():
    content = [{"type": "text", "text": "what is it?", "cache_control": {"type": "ephemeral"}},
               {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
               {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a text"}}]
    thinking = {"type": "enabled", "budget_tokens": 2048}
    message = client.messages.create(**ask({"tokens": 1, "reasoning": "hm"}, content, thinking=thinking))
    assert [block.type for block in message.content] == ["thinking", "text"]


@test
def tokens_are_counted_without_an_answer():
    few = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "hi"}]).input_tokens
    many = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "hi there " * 500}],
                                        tools=TOOLS, system="Be brief.").input_tokens
    # By an estimate, which what upstreams counted has corrected.
    assert 0 < few < 50 and many > 20 * few, (few, many)


@test
def errors_have_anthropics_shape():
    error = raises(anthropic.NotFoundError, lambda: client.messages.create(**{**ask({}), "model": "no-such-model"}))
    assert error.body["error"]["type"] == "not_found_error" and error.body["error"]["code"] == "unknown_model"
    error = raises(anthropic.BadRequestError, lambda: client.messages.create(**ask({}, [{"role": "critic", "content": "a"}])))
    assert error.body["type"] == "error" and error.body["error"]["type"] == "invalid_request_error"
    assert "critic" in error.message
    for stream in (False, True):
        script = {"fail_at": 0, "fault": "rate_limited", "retry_after_ms": 1}
        error = raises(anthropic.RateLimitError, lambda: client.messages.create(stream=stream, **ask(script)))
        assert error.body["error"]["code"] == "upstream_rate_limited", error.body


@test
def an_answer_that_breaks_off_never_looks_whole():
    script = {"tokens": 8, "fail_at": 4, "fault": "broken", "continues": False}
    got = []

    def read():
        for event in client.messages.create(stream=True, **ask(script)):
            got.append(event.type)

    error = raises(anthropic.APIStatusError, read)
    assert error.body["error"]["code"] in ("rewound", "upstream_broken"), error.body
    assert "content_block_delta" in got and "message_stop" not in got


print(f"python (anthropic {anthropic.__version__}): {passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
