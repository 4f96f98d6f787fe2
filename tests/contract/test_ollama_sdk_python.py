"""Ollama's own Python SDK against the live gateway, which it cannot tell from its own server, whoever answers there."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import ollama
import pytest
from pydantic import BaseModel

from tests.support.client import LISTED_S
from tests.support.gateway import LiveGateway
from tests.support.ollama_client import Client, close, collect, connect, lines, refusal, settle
from tests.support.ollama_targets import CUSTOM, TARGETS, Target

pytestmark = pytest.mark.live

ASK = [{"role": "user", "content": "Tell me about the tides, please."}]
TOOL_ASK = [{"role": "user", "content": "Use get_weather for Oslo."}]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
MEASURES = ("total_duration", "load_duration", "prompt_eval_count", "eval_count", "eval_duration")


def get_weather(city: str, days: int = 1) -> str:
    """The weather in a city.

    Args:
        city: The name of the city
        days: For how many days
    """
    return f"{city}: rain for {days} days"


class Wave(BaseModel):
    height: float
    name: str


class Report(BaseModel):
    title: str
    waves: list[Wave]


# Both clients of the SDK once; what answers there makes no difference to it.
@pytest.fixture(params=[*(("sync", name) for name in TARGETS), ("async", "custom")], ids="-".join)
def used(request: pytest.FixtureRequest) -> tuple[str, str]:
    kind, name = request.param
    return kind, name


@pytest.fixture
def target(used: tuple[str, str]) -> Target:
    return TARGETS[used[1]]


@pytest.fixture
async def client(
    used: tuple[str, str], target: Target, gateway: LiveGateway, beside_ollama: LiveGateway
) -> AsyncIterator[Client]:
    made = connect(used[0], gateway if target is CUSTOM else beside_ollama)
    yield made
    await close(made)


async def test_a_chat_is_answered_whole(client: Client, target: Target) -> None:
    found = await settle(client.chat(target.model, ASK))
    assert found.model == target.model
    assert found.created_at
    assert found.message.role == "assistant"
    assert target.said in (found.message.content or "")
    assert (found.done, found.done_reason) == (True, "stop")
    for measure in MEASURES:
        assert found[measure] > 0
    assert found.total_duration is not None
    assert found.total_duration >= found["eval_duration"]


async def test_a_chat_streams_the_same_answer(client: Client, target: Target) -> None:
    whole = await settle(client.chat(target.model, ASK))
    found = await lines(client.chat(target.model, ASK, stream=True))
    assert len(found) >= 5
    assert "".join(part.message.content for part in found) == whole.message.content
    assert [part.done for part in found] == [False] * (len(found) - 1) + [True]
    last = found[-1]
    assert last.done_reason == "stop"
    assert (last.eval_count, last.prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)
    assert last.total_duration >= last.prompt_eval_duration + last.eval_duration > 0
    assert {part.model for part in found} == {target.model}
    assert all(part.eval_count is None for part in found[:-1])


async def test_a_limit_ends_an_answer(client: Client, target: Target) -> None:
    options = {"num_predict": 3, "temperature": 0.5, "top_k": 9}
    found = await settle(client.chat(target.model, ASK, options=options))
    assert (found.done_reason, found.eval_count) == ("length", 3)
    last = (await lines(client.chat(target.model, ASK, options=options, stream=True)))[-1]
    assert (last.done_reason, last.eval_count) == ("length", 3)


async def test_a_function_is_called_and_its_result_is_read(client: Client, target: Target) -> None:
    talk: list[Any] = [*TOOL_ASK]
    found = await settle(client.chat(target.model, talk, tools=[get_weather]))
    assert found.done_reason == "stop"
    assert found.message.tool_calls
    call = found.message.tool_calls[0].function
    assert call.name == "get_weather"
    assert isinstance(call.arguments, dict)
    result = get_weather(**call.arguments)
    talk += [found.message, {"role": "tool", "tool_name": call.name, "content": result}]
    answer = await settle(client.chat(target.model, talk, tools=[get_weather]))
    assert answer.message.content
    assert not answer.message.tool_calls
    if target is not CUSTOM:
        assert answer.message.content == f"It says: {result}"


async def test_a_function_is_called_in_a_stream_in_one_piece(client: Client, target: Target) -> None:
    found = await lines(client.chat(target.model, TOOL_ASK, tools=[get_weather], stream=True))
    calls = [call for part in found for call in part.message.tool_calls or []]
    assert [call.function.name for call in calls] == ["get_weather"]
    assert isinstance(calls[0].function.arguments["city"], str)
    assert found[-1].done_reason == "stop"


async def test_an_answer_follows_a_schema(client: Client, target: Target) -> None:
    found = await settle(client.chat(target.model, ASK, format=Report.model_json_schema()))
    assert Report.model_validate_json(found.message.content or "")
    loose = await settle(client.chat(target.model, ASK, format="json"))
    assert isinstance(json.loads(loose.message.content or ""), dict)
    generated = await settle(client.generate(target.model, "Tell me.", format=Report.model_json_schema()))
    assert Report.model_validate_json(generated.response or "")


async def test_images_are_seen(client: Client, target: Target) -> None:
    talk = [{"role": "user", "content": "What is this?", "images": [PNG]}]
    seen = (await settle(client.chat(target.model, talk))).message.content
    read = (await settle(client.generate(target.model, "What is this?", images=[PNG]))).response
    assert seen
    assert read
    if target is not CUSTOM:
        assert seen == read == "1 image"


async def test_a_model_thinks_where_it_can(client: Client, target: Target) -> None:
    thought = "Let me think" if target is CUSTOM else "hm"
    for think in (True, "low"):
        found = await settle(client.chat(target.model, ASK, think=think))
        assert target.said in (found.message.content or "")
        assert (found.message.thinking or "").startswith(thought)
    parts = await lines(client.chat(target.model, ASK, think=True, stream=True))
    assert "".join(part.message.thinking or "" for part in parts).startswith(thought)
    assert (await settle(client.chat(target.model, ASK, think=False))).message.thinking is None
    generated = await settle(client.generate(target.model, "Tell me.", think=True))
    assert (generated.thinking or "").startswith(thought)


async def test_a_prompt_is_answered_whole_and_streamed(client: Client, target: Target) -> None:
    whole = await settle(client.generate(target.model, "Tell me.", system="Be brief.", keep_alive="5m"))
    assert whole.response
    assert (whole.done, whole.done_reason) == (True, "stop")
    found = await lines(client.generate(target.model, "Tell me.", system="Be brief.", stream=True))
    assert "".join(part.response for part in found) == whole.response
    assert found[-1].eval_count == whole.eval_count


async def test_a_text_is_continued_raw(client: Client, target: Target) -> None:
    whole = await settle(client.generate(target.text, "Once upon", raw=True))
    assert whole.response
    assert whole.done_reason in {"stop", "length"}
    found = await lines(client.generate(target.text, "Once upon", suffix="end", stream=True))
    assert "".join(part.response for part in found)
    assert found[-1].done


async def test_log_probabilities_are_told(client: Client, target: Target) -> None:
    found = await settle(client.chat(target.model, ASK, logprobs=True, top_logprobs=2))
    assert found.logprobs
    assert found.logprobs[0].logprob <= 0
    assert found.logprobs[0].top_logprobs
    assert len(found.logprobs[0].top_logprobs) == 2
    parts = await lines(client.chat(target.model, ASK, logprobs=True, top_logprobs=2, stream=True))
    reported = [token.token for part in parts for token in part.logprobs or []]
    assert reported == [token.token for token in found.logprobs]


async def test_nothing_asked_loads(client: Client, target: Target) -> None:
    assert (await settle(client.generate(target.model, ""))).done_reason == "load"
    assert (await settle(client.generate(target.model, "", keep_alive=0))).done_reason == "unload"
    assert (await settle(client.chat(target.model, []))).done_reason == "load"
    assert [part.done_reason for part in await lines(client.chat(target.model, [], stream=True))] == ["load"]


async def test_texts_become_vectors(client: Client, target: Target) -> None:
    found = await settle(client.embed(target.embedding, ["first", "second"]))
    assert found.model == target.embedding
    assert len(found.embeddings) == 2
    assert len({len(vector) for vector in found.embeddings}) == 1
    assert found.prompt_eval_count
    one = await settle(client.embed(target.embedding, "first"))
    assert list(one.embeddings[0]) == list(found.embeddings[0])
    assert list((await settle(client.embeddings(target.embedding, "first"))).embedding) == list(one.embeddings[0])
    assert list((await settle(client.embed(target.embedding, ""))).embeddings) == []
    assert list((await settle(client.embeddings(target.embedding, ""))).embedding) == []


async def test_models_are_listed_and_shown(client: Client, target: Target) -> None:
    own: list[str] = []
    until = time.monotonic() + LISTED_S
    while not own and time.monotonic() < until:
        listed = (await settle(client.list())).models
        names = [model.model or "" for model in listed]
        assert len({model.digest for model in listed}) == len(set(names)) == len(names) > 1
        own = [name for name in names if name.startswith(target.model.split("/")[0])]
        if not own:
            await asyncio.sleep(1)
    assert own
    for name in own:
        assert ":" in name
        assert (await settle(client.chat(name, ASK))).model == name
        shown = await settle(client.show(name))
        assert shown.capabilities
        assert shown.modelinfo is not None
        assert shown.details is not None
    assert (await settle(client.ps())).models == []


async def test_failures_are_response_errors_with_their_status(client: Client, target: Target) -> None:
    missing = await refusal(lambda: client.chat(target.missing, ASK))
    assert missing.status_code == 404
    assert missing.error.startswith(f"model '{target.missing}' not found")
    assert (await refusal(lambda: client.chat(target.busy, ASK))).status_code == 429
    with pytest.raises(ollama.ResponseError) as refused:
        await lines(client.chat(target.missing, ASK, stream=True))
    assert refused.value.status_code == 404


async def test_a_stream_that_breaks_raises_and_is_not_done(client: Client, target: Target) -> None:
    seen: list[Any] = []
    with pytest.raises(ollama.ResponseError):
        await collect(client.chat(target.broken, ASK, stream=True), seen)
    assert seen
    assert not any(part.done for part in seen)


async def test_what_changes_models_is_refused_with_the_reason(client: Client) -> None:
    for attempt in (
        lambda: client.pull("m"),
        lambda: client.push("m"),
        lambda: client.copy("a", "b"),
        lambda: client.delete("m"),
        lambda: client.create("m", from_="n"),
        lambda: client.create_blob(__file__),
    ):
        refused = await refusal(attempt)
        assert refused.status_code == 501
        assert "keeps no models" in refused.error
