"""The official OpenAI client for Python uses Responses and batches: python responses.py URL (of a server with the model `scripted`)."""

import json
import sys
import time
import traceback

import openai

BASE = sys.argv[1].rstrip("/")
MODEL = "scripted"
PATIENCE_S = 120

client = openai.OpenAI(base_url=f"{BASE}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S)
passed = failed = 0
CALL = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "tide", "arguments": '{"port":"Brest"}'}}]
TOOLS = [{"type": "function", "name": "tide", "description": "The tide at a port.", "strict": True,
          "parameters": {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"],
                         "additionalProperties": False}}]


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


def ask(script, input="go", **fields):
    """The fields of a request that the scripted backend plays."""
    return {"model": MODEL, "input": input, "extra_body": {"script": {"delay_ms": 1, **script}}, **fields}


def raises(kind, call):
    """The error of this kind that the call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def dumped(events):
    return [event.to_dict() for event in events]


@test
def a_response_has_text_usage_and_what_was_asked():
    response = client.responses.create(**ask({"tokens": 5}, instructions="Be brief.", metadata={"a": "b"},
                                             temperature=0.5, max_output_tokens=100))
    assert response.output_text == "w0 w1 w2 w3 w4 " and response.status == "completed", response
    assert (response.object, response.model, response.instructions) == ("response", MODEL, "Be brief.")
    assert (response.metadata, response.temperature, response.max_output_tokens) == ({"a": "b"}, 0.5, 100)
    assert response.usage.output_tokens == 5 and response.usage.input_tokens > 0
    assert response.usage.total_tokens == response.usage.input_tokens + 5
    assert client.responses.retrieve(response.id) == response


@test
def a_streamed_response_has_openais_events_in_their_order():
    events = list(client.responses.create(stream=True, **ask({"tokens": 4})))
    assert [event.type for event in events] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        *["response.output_text.delta"] * 4, "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == "".join(e.delta for e in events if e.type.endswith("text.delta"))
    with client.responses.stream(**ask({"tokens": 4, "reasoning": "hm"})) as stream:
        stream.until_done()
        final = stream.get_final_response()
    assert final.output_text == "w0 w1 w2 w3 " and final.output[0].content[0].text == "hm"


@test
def a_tool_is_called_and_its_result_is_answered_to():
    script = {"tokens": 0, "tool_calls": CALL, "finish_reason": "tool_calls"}
    first = client.responses.create(**ask(script, tools=TOOLS, tool_choice="required"))
    (call,) = first.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "tide", {"port": "Brest"})
    assert first.tools[0].name == "tide" and first.tools[0].parameters == TOOLS[0]["parameters"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "high at noon"}
    second = client.responses.create(previous_response_id=first.id, **ask({"text": "At noon."}, [result]))
    assert second.output_text == "At noon." and second.previous_response_id == first.id
    with client.responses.stream(**ask(script, tools=TOOLS)) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output[0].arguments == call.arguments
    assert "response.function_call_arguments.delta" in kinds and "response.function_call_arguments.done" in kinds


@test
def structured_output_is_parsed():
    from pydantic import BaseModel

    class Tide(BaseModel):
        port: str
        metres: float

    response = client.responses.parse(text_format=Tide, **ask({"text": '{"port":"Brest","metres":7.5}'}))
    assert response.output_parsed == Tide(port="Brest", metres=7.5)
    assert response.text.format.type == "json_schema" and response.text.format.name == "Tide"


@test
def a_conversation_goes_on_over_several_responses():
    first = client.responses.create(**ask({"text": "one"}, "1", instructions="Count."))
    second = client.responses.create(previous_response_id=first.id, **ask({"text": "two"}, "2", instructions="Count on."))
    third = client.responses.create(previous_response_id=second.id, **ask({"text": "three"}, "3"))
    # The scripted backend counts words: 1 one 2 two 3, and no instructions of the earlier ones.
    assert third.usage.input_tokens == 5, third.usage
    items = list(client.responses.input_items.list(third.id))
    assert [item.content[0].text for item in items] == ["3"]
    raised = raises(openai.NotFoundError, lambda: client.responses.create(previous_response_id="resp_x", **ask({})))
    assert raised.code == "unknown_response", raised.code


@test
def input_items_come_in_pages():
    items = [{"role": "user", "content": f"part {n}"} for n in range(5)]
    response = client.responses.create(**ask({"tokens": 1}, items))
    listed = list(client.responses.input_items.list(response.id, limit=2, order="asc"))
    assert [item.content[0].text for item in listed] == [f"part {n}" for n in range(5)]


@test
def a_background_response_is_cut_and_resumed_at_every_event():
    script = {"tokens": 12, "reasoning": "hm", "tool_calls": CALL, "finish_reason": "tool_calls"}
    first = client.responses.create(background=True, **ask(script))
    assert first.status in ("queued", "in_progress") and first.output == [], first
    uncut = dumped(client.responses.retrieve(first.id, stream=True))
    assert uncut[-1]["type"] == "response.completed"
    for cut in range(len(uncut)):
        after = uncut[cut]["sequence_number"]
        rest = dumped(client.responses.retrieve(first.id, stream=True, starting_after=after))
        assert uncut[: cut + 1] + rest == uncut, f"cut after {after}"
    # The same of one that is being written.
    live, after = [], None
    second = client.responses.create(background=True, **ask({**script, "delay_ms": 15}))
    while not live or live[-1]["type"] != "response.completed":
        more = {} if after is None else {"starting_after": after}
        with client.responses.retrieve(second.id, stream=True, **more) as events:
            live.append(next(iter(events)).to_dict())
        after = live[-1]["sequence_number"]
    assert [event["sequence_number"] for event in live] == list(range(len(live)))
    assert live == dumped(client.responses.retrieve(second.id, stream=True))


@test
def a_streamed_background_response_outlives_its_connection():
    with client.responses.create(background=True, stream=True, **ask({"tokens": 20, "delay_ms": 10})) as events:
        first = next(iter(events))
    rest = list(client.responses.retrieve(first.response.id, stream=True, starting_after=first.sequence_number))
    assert rest[-1].type == "response.completed" and rest[-1].response.output_text.startswith("w0 w1 ")


@test
def a_background_response_is_cancelled():
    response = client.responses.create(background=True, **ask({"tokens": 5000, "delay_ms": 20}))
    cancelled = client.responses.cancel(response.id)
    assert cancelled.status == "cancelled", cancelled.status
    last = list(client.responses.retrieve(response.id, stream=True))[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    client.responses.delete(response.id)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(response.id))


@test
def an_answer_that_was_cut_short_is_incomplete():
    response = client.responses.create(**ask({"tokens": 3, "finish_reason": "length"}))
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    events = list(client.responses.create(stream=True, **ask({"tokens": 3, "finish_reason": "length"})))
    assert events[-1].type == "response.incomplete"


@test
def what_can_not_be_done_is_refused():
    for fields in ({"tools": [{"type": "web_search"}]}, {"truncation": "auto"}, {"conversation": "conv_1"},
                   {"background": True, "store": False}, {"include": ["file_search_call.results"]}):
        error = raises(openai.BadRequestError, lambda: client.responses.create(**ask({"tokens": 1}, **fields)))
        assert error.code == "invalid_request", fields
    raises(openai.NotFoundError, lambda: client.responses.create(model="no-such-model", input="go"))
    raises(openai.NotFoundError, lambda: client.responses.retrieve("resp_00000000000000000000000000"))


def lines(*bodies, url="/v1/chat/completions"):
    """A batch's file."""
    rows = [{"custom_id": f"line-{n}", "method": "POST", "url": url, "body": body} for n, body in enumerate(bodies)]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    return client.files.create(file=("batch.jsonl", content), purpose="batch").id


def batched(file, endpoint="/v1/chat/completions"):
    """A batch of a file."""
    return client.batches.create(input_file_id=file, endpoint=endpoint, completion_window="24h", metadata={"by": "mo"})


def over(batch):
    """The batch once it is over."""
    until = time.monotonic() + PATIENCE_S
    while batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
        assert time.monotonic() < until, batch
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def read(file):
    """The lines of a file by their names."""
    rows = [json.loads(line) for line in client.files.content(file).text.splitlines()]
    return {row["custom_id"]: row for row in rows}


def chat(**script):
    return {"model": MODEL, "messages": [{"role": "user", "content": "go"}], "script": {"delay_ms": 0, **script}}


@test
def a_batch_answers_each_line_of_a_file():
    batch = batched(lines(chat(tokens=2), chat(fail_at=0, fault="invalid"), chat(text="three")))
    assert (batch.object, batch.endpoint, batch.metadata) == ("batch", "/v1/chat/completions", {"by": "mo"})
    batch = over(batch)
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 3, 2, 1), batch
    answers = read(batch.output_file_id)
    assert answers["line-0"]["response"]["status_code"] == 200 and answers["line-0"]["error"] is None
    texts = {name: row["response"]["body"]["choices"][0]["message"]["content"] for name, row in answers.items()}
    assert texts == {"line-0": "w0 w1 ", "line-2": "three"}, texts
    (wrong,) = read(batch.error_file_id).values()
    assert (wrong["custom_id"], wrong["response"]["status_code"]) == ("line-1", 400), wrong
    assert wrong["error"]["code"] == "invalid_input"
    assert client.batches.list(limit=1).data[0].id == batch.id, "the newest comes first"
    raised = raises(openai.BadRequestError, lambda: client.batches.cancel(batch.id))
    assert raised.code == "invalid_request"


@test
def batches_of_responses_and_of_embeddings():
    request = {"model": MODEL, "input": "go", "script": {"tokens": 2, "delay_ms": 0}}
    batch = over(batched(lines(request, url="/v1/responses"), "/v1/responses"))
    body = read(batch.output_file_id)["line-0"]["response"]["body"]
    assert body["output"][0]["content"][0]["text"] == "w0 w1 "
    assert client.responses.retrieve(body["id"]).output_text == "w0 w1 "
    batch = over(batched(lines({"model": MODEL, "input": "tide"}, url="/v1/embeddings"), "/v1/embeddings"))
    vector = read(batch.output_file_id)["line-0"]["response"]["body"]["data"][0]["embedding"]
    assert vector == client.embeddings.create(model=MODEL, input="tide", encoding_format="float").data[0].embedding


@test
def wrong_lines_are_told_by_their_numbers():
    batch = batched(lines(chat(tokens=1), {"model": "no-such-model", "messages": [{"role": "user", "content": "a"}]},
                          {**chat(), "stream": True}, {"model": MODEL, "messages": []}))
    assert batch.status == "failed" and batch.failed_at, batch
    told = [(error.line, error.code) for error in batch.errors.data]
    assert told == [(2, "unknown_model"), (3, "invalid_request"), (4, "invalid_request")], told
    assert client.batches.retrieve(batch.id).errors.data[0].line == 2
    broken = client.files.create(file=("batch.jsonl", b"{\n{}"), purpose="batch")
    assert [error.line for error in batched(broken.id).errors.data] == [1, 2]
    other = client.files.create(file=("a.txt", b"a"), purpose="user_data")
    raises(openai.BadRequestError, lambda: batched(other.id))
    raises(openai.NotFoundError, lambda: batched("file-x"))
    raises(openai.NotFoundError, lambda: client.batches.retrieve("batch_x"))


@test
def a_batch_is_cancelled():
    batch = batched(lines(chat(tokens=1), chat(tokens=5000, delay_ms=20)))
    while client.batches.retrieve(batch.id).request_counts.completed < 1:
        time.sleep(0.05)
    batch = client.batches.cancel(batch.id)
    assert batch.status in ("cancelling", "finalizing") and batch.cancelling_at, batch
    batch = over(batch)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("cancelled", 1, 1), batch
    assert list(read(batch.output_file_id)) == ["line-0"]
    assert read(batch.error_file_id)["line-1"]["error"]["code"] == "stopped"


print(f"python (openai {openai.__version__}, responses): {passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
