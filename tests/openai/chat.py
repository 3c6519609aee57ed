"""The official OpenAI client for Python talks to a server: python chat.py URL [MODEL]."""

import asyncio
import json
import sys
import traceback
import urllib.request

import openai

BASE = sys.argv[1].rstrip("/")
MODEL = sys.argv[2] if len(sys.argv) > 2 else None
# The longest wait for a whole answer: the built-in model on a busy machine of two cores.
PATIENCE_S = 120

client = openai.OpenAI(base_url=f"{BASE}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S)
MODEL = MODEL or client.models.list().data[0].id
# What the scripted backend plays; a real model gets no such field, and writes what it writes.
SCRIPTED = "scripted" in MODEL
# The scripted backend embeds too; beside the built-in model stands one that does nothing else.
EMBEDS = MODEL if SCRIPTED else "wordllama-l2-supercat-256"
STORY = [
    {"role": "system", "content": "You answer in several languages."},
    {"role": "user", "content": "Write a long story about the sea with words in French, Chinese and emoji: é 漢 🙂"},
]
passed = failed = 0


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


def ask(tokens, messages=STORY, delay_ms=2, **fields):
    """The fields of a request for an answer of so many tokens."""
    if SCRIPTED:
        fields["extra_body"] = {"script": {"tokens": tokens, "delay_ms": delay_ms}}
    else:
        # The likeliest words, over and over: as many as were asked for, and the same each time.
        fields.setdefault("temperature", 0)
        fields["extra_body"] = {"dry_multiplier": 0}
    return {"model": MODEL, "messages": messages, "max_tokens": tokens, **fields}


def get(path):
    """A native path's answer: its bytes and headers."""
    with urllib.request.urlopen(f"{BASE}{path}", timeout=PATIENCE_S) as answer:
        return answer.read(), answer.headers


def logged(task):
    """The text that the task's log amounts to."""
    return get(f"/v1/tasks/{task}/text?wait_ms=30000")[0].decode()


def streamed(**fields):
    """A streamed answer: the task's id, and its chunks."""
    raw = client.chat.completions.with_raw_response.create(stream=True, **fields)
    return raw.headers["tidewire-task"], raw.parse()


def raises(kind, call):
    """The error of this kind that the call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


@test
def models_are_listed():
    assert MODEL in [model.id for model in client.models.list()]


@test
def a_plain_answer_has_text_and_usage():
    raw = client.chat.completions.with_raw_response.create(**ask(20))
    answer = raw.parse()
    (choice,) = answer.choices
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.object == "chat.completion" and answer.model == MODEL
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    task = raw.headers["tidewire-task"]
    assert task in answer.id, f"{task} is in {answer.id}"
    assert logged(task) == choice.message.content


@test
def a_streamed_answer_comes_in_chunks_and_ends_cleanly():
    _, chunks = streamed(**ask(40))
    chunks = list(chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) > 1
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert all(chunk.usage is None for chunk in chunks), "usage comes only where it was asked for"


@test
def include_usage_adds_one_last_chunk_with_the_numbers():
    _, chunks = streamed(**ask(20, stream_options={"include_usage": True}))
    *chunks, last = list(chunks)
    assert last.choices == []
    assert last.usage.prompt_tokens > 0 and last.usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks)


@test
def several_answers_to_one_question_are_told_apart_by_their_index():
    answer = client.chat.completions.create(**ask(8, n=3))
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)
    assert answer.usage.completion_tokens >= 3, "what all of them used together"
    texts, ends = {}, set()
    for chunk in client.chat.completions.create(stream=True, **ask(8, n=2, stream_options={"include_usage": True})):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            ends |= {choice.index} if choice.finish_reason else set()
        usage = chunk.usage
    assert sorted(texts) == [0, 1] and all(texts.values()) and ends == {0, 1}
    assert usage.completion_tokens >= 2


@test
def a_model_is_retrieved_by_its_name():
    assert client.models.retrieve(MODEL).id == MODEL
    raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))


@test
def the_head_says_who_answered_how_long_it_took_and_what_it_cost():
    raw = client.chat.completions.with_raw_response.create(**ask(5))
    for name in ("tidewire-queue-ms", "tidewire-ttft-ms", "tidewire-total-ms", "tidewire-cost-usd"):
        assert float(raw.headers[name]) >= 0, name
    assert raw.headers["tidewire-deployment"]
    raw = client.chat.completions.with_raw_response.create(stream=True, **ask(5))
    assert raw.headers["tidewire-deployment"] and int(raw.headers["tidewire-ttft-ms"]) >= 0
    assert list(raw.parse())


@test
def a_task_goes_on_without_its_caller_where_that_was_asked_for():
    stays = {"tidewire-on-disconnect": "continue"}
    task, chunks = streamed(**ask(60, delay_ms=10, extra_headers=stays))
    for chunk in chunks:
        if chunk.choices[0].delta.content:
            break
    chunks.close()
    text = logged(task)
    record = json.loads(get(f"/v1/tasks/{task}")[0])
    assert record["state"] == "done" and text, record
    error = raises(openai.BadRequestError, lambda: streamed(**ask(5, extra_headers={"tidewire-on-disconnect": "no"})))
    assert "tidewire-on-disconnect" in error.message


@test
def texts_become_vectors_in_their_order():
    answer = client.embeddings.create(model=EMBEDS, input=["tide", "wire", "tide"])
    first, second, third = (item.embedding for item in answer.data)
    assert first == third and first != second and all(isinstance(number, float) for number in first)
    assert [item.index for item in answer.data] == [0, 1, 2] and answer.usage.prompt_tokens > 0
    floats = client.embeddings.create(model=EMBEDS, input="tide", encoding_format="float")
    assert all(abs(a - b) < 1e-6 for a, b in zip(floats.data[0].embedding, first, strict=True)), "in either format"
    error = raises(openai.BadRequestError, lambda: client.embeddings.create(model=EMBEDS, input=[]))
    assert "empty" in error.message, error.message


@test
def the_built_in_model_for_embeddings_knows_what_is_alike():
    if SCRIPTED:
        return
    question = "How do I reset my password?"
    texts = [question, "I forgot my password, how can I set a new one?", "Write a short poem about the sea"]
    answer = client.embeddings.create(model=EMBEDS, input=texts)
    asked, same, other = (item.embedding for item in answer.data)
    near = lambda one, two: sum(a * b for a, b in zip(one, two, strict=True))
    assert len(asked) == 256 and abs(near(asked, asked) - 1) < 1e-5
    assert near(asked, same) > 0.5 > near(asked, other) + 0.2, (near(asked, same), near(asked, other))
    assert answer.model == EMBEDS and answer.usage.prompt_tokens == 27, answer.usage
    short = client.embeddings.create(model=EMBEDS, input=question, dimensions=64).data[0].embedding
    assert len(short) == 64 and abs(near(short, short) - 1) < 1e-5
    error = raises(openai.BadRequestError, lambda: client.embeddings.create(model=EMBEDS, input="a " * 8200))
    assert error.code == "context_too_long" and "8192" in error.message, error
    error = raises(openai.BadRequestError, lambda: client.embeddings.create(model=EMBEDS, input="a", dimensions=257))
    assert "256" in error.message, error
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=EMBEDS, messages=STORY))
    assert "only embeds" in error.message, error
    error = raises(openai.BadRequestError, lambda: client.embeddings.create(model=MODEL, input="a"))
    assert "embed" in error.message, error


@test
def a_long_text_of_many_languages_is_the_log_byte_for_byte():
    task, chunks = streamed(**ask(400))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(text) > 200
    assert text.encode() == logged(task).encode()
    if SCRIPTED:
        assert "é漢🙂…" in text and text.startswith("w0 w1 ") and text.endswith("w399-é漢🙂… ")


@test
def fields_that_are_null_are_as_if_left_out():
    answer = client.chat.completions.create(**ask(5, stream=None, stream_options=None, n=None, stop=None, tools=openai.omit))
    assert answer.choices[0].message.content


@test
def a_file_is_uploaded_read_back_and_named_in_a_message():
    words = b"The tide comes in twice a day. " * 4
    expiry = {"anchor": "created_at", "seconds": 3600}
    file = client.files.create(file=("tide.txt", words), purpose="user_data", expires_after=expiry)
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(words), "tide.txt", "user_data")
    assert file.expires_at == file.created_at + 3600
    file = client.files.wait_for_processing(file.id, poll_interval=0.1)
    assert file.status == "processed" and file.text_bytes == len(words), file
    assert client.files.content(file.id).read() == words
    assert file.id in [listed.id for listed in client.files.list(limit=1, order="desc")]
    assert not list(client.files.list(purpose="batch"))
    part = {"type": "file", "file": {"file_id": file.id}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "Summarise:"}, part]}]
    answer = client.chat.completions.create(**ask(5, messages=messages))
    assert answer.choices[0].message.content and answer.usage.prompt_tokens >= 28, answer.usage
    deleted = client.files.delete(file.id)
    assert deleted.deleted and deleted.id == file.id
    error = raises(openai.NotFoundError, lambda: client.files.retrieve(file.id))
    assert error.code == "unknown_file", error.code
    error = raises(openai.NotFoundError, lambda: client.chat.completions.create(**ask(5, messages=messages)))
    assert error.code == "unknown_file" and file.id in error.message


@test
def an_unknown_model_is_a_not_found_error():
    error = raises(openai.NotFoundError, lambda: client.chat.completions.create(model="no-such-model", messages=STORY))
    assert error.code == "unknown_model", error.code
    assert error.type == "invalid_request_error", error.type
    assert "no-such-model" in error.message


@test
def an_invalid_body_is_a_bad_request_error():
    for fields in ({"messages": "hello"}, {"messages": []}, {"messages": STORY, "n": 0}, {"messages": STORY, "n": 999}):
        error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=MODEL, **fields))
        assert error.code == "invalid_request", f"{fields}: {error.code}"
        assert error.message


@test
def closing_a_stream_early_stops_the_task():
    task, chunks = streamed(**ask(1500, delay_ms=20))
    for chunk in chunks:
        if chunk.choices[0].delta.content:
            break
    chunks.close()
    # Waits for the task's end, or for so long.
    text, headers = get(f"/v1/tasks/{task}/text?wait_ms=10000")
    assert headers["tidewire-state"] == "stopped", headers["tidewire-state"]
    record = json.loads(get(f"/v1/tasks/{task}")[0])
    assert record["state"] == "stopped" and record["durability"] == "transient", record
    assert text


@test
def several_at_once_over_the_async_client():
    async def chat():
        many = openai.AsyncOpenAI(base_url=f"{BASE}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S)

        async def one():
            chunks = await many.chat.completions.create(stream=True, **ask(30))
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

        return await asyncio.gather(*(one() for _ in range(8)))

    answers = asyncio.run(chat())
    assert len(answers) == 8 and all(answers)


print(f"python (openai {openai.__version__}): {passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
