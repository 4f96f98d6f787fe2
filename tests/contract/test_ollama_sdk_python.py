"""Ollama's own Python SDK, sync and async, against the live gateway, which it cannot tell from its own server."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, cast

import ollama
import pytest
from pydantic import BaseModel

from tests.support.behaviours import TEXT, WORDS, behave
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.anyio

type Client = ollama.Client | ollama.AsyncClient

MODEL = "custom-chat"
ASK = [{"role": "user", "content": "Tell me about the tides, please."}]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


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


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, gateway: LiveGateway) -> AsyncIterator[Client]:
    made = connect(request.param, gateway)
    yield made
    await close(made)


def connect(kind: str, gateway: LiveGateway) -> Client:
    make = ollama.AsyncClient if kind == "async" else ollama.Client
    return make(host=gateway.base_url, headers={"authorization": f"Bearer {TEST_KEY}"}, timeout=20)


async def close(client: Client) -> None:
    await settle(client._client.aclose() if isinstance(client, ollama.AsyncClient) else client._client.close())


async def settle[T](value: T | Awaitable[T]) -> T:
    """The result of a call that is sync with one client and a coroutine with the other."""
    return await cast("Awaitable[T]", value) if isinstance(value, Awaitable) else value


async def lines(value: object) -> list[Any]:
    """Every part of a stream, however the client gives it."""
    seen: list[Any] = []
    await collect(value, seen)
    return seen


async def collect(value: object, seen: list[Any]) -> None:
    found = await settle(cast("Any", value))
    if hasattr(found, "__aiter__"):
        async for part in found:
            seen.append(part)  # noqa: PERF401 - what came before an error is wanted too
    else:
        seen.extend(found)


async def refusal(ask: Callable[[], object]) -> ollama.ResponseError:
    with pytest.raises(ollama.ResponseError) as refused:
        await settle(cast("Any", ask()))
    return refused.value


async def test_a_chat_is_answered_whole(client: Client) -> None:
    found = await settle(client.chat(MODEL, ASK))
    assert found.model == MODEL
    assert found.created_at
    assert found.message.role == "assistant"
    assert found.message.content
    assert "tides" in found.message.content
    assert (found.done, found.done_reason) == (True, "stop")
    for measure in ("total_duration", "load_duration", "prompt_eval_count", "eval_count", "eval_duration"):
        assert found[measure] > 0
    assert found.total_duration is not None
    assert found.total_duration >= found["eval_duration"]


async def test_a_chat_streams_the_same_answer(client: Client) -> None:
    whole = await settle(client.chat(MODEL, ASK))
    found = await lines(client.chat(MODEL, ASK, stream=True))
    assert len(found) > 5
    assert "".join(part.message.content for part in found) == whole.message.content
    assert [part.done for part in found] == [False] * (len(found) - 1) + [True]
    last = found[-1]
    assert last.done_reason == "stop"
    assert (last.eval_count, last.prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)
    assert last.total_duration >= last.prompt_eval_duration + last.eval_duration > 0
    assert {part.model for part in found} == {MODEL}
    assert all(part.eval_count is None for part in found[:-1])


async def test_a_limit_ends_an_answer(client: Client) -> None:
    found = await settle(client.chat(MODEL, ASK, options={"num_predict": 3, "temperature": 0.5, "top_k": 9}))
    assert (found.done_reason, found.eval_count) == ("length", 3)
    stopped = await settle(client.chat(MODEL, ASK, options=ollama.Options(stop=["tides"], seed=1)))
    assert stopped.message.content is not None
    assert "tides" not in stopped.message.content


async def test_a_function_is_called_and_its_result_is_read(client: Client) -> None:
    talk: list[Any] = [{"role": "user", "content": "Use get_weather for Oslo."}]
    found = await settle(client.chat(MODEL, talk, tools=[get_weather]))
    assert found.done_reason == "stop"
    assert found.message.tool_calls
    call = found.message.tool_calls[0].function
    assert call.name == "get_weather"
    assert isinstance(call.arguments, dict)
    result = get_weather(**call.arguments)
    talk += [found.message, {"role": "tool", "tool_name": call.name, "content": result}]
    answer = await settle(client.chat(MODEL, talk, tools=[get_weather]))
    assert answer.message.content
    assert not answer.message.tool_calls


async def test_a_function_is_called_in_a_stream_in_one_piece(client: Client) -> None:
    talk = [{"role": "user", "content": "Use get_weather for Oslo."}]
    found = await lines(client.chat(MODEL, talk, tools=[get_weather], stream=True))
    calls = [call for part in found for call in part.message.tool_calls or []]
    assert [call.function.name for call in calls] == ["get_weather"]
    assert isinstance(calls[0].function.arguments["city"], str)
    assert found[-1].done_reason == "stop"


async def test_an_answer_follows_a_schema(client: Client) -> None:
    found = await settle(client.chat(MODEL, ASK, format=Report.model_json_schema()))
    assert Report.model_validate_json(found.message.content or "")
    loose = await settle(client.chat(MODEL, ASK, format="json"))
    assert isinstance(json.loads(loose.message.content or ""), dict)
    generated = await settle(client.generate(MODEL, "Tell me.", format=Report.model_json_schema()))
    assert Report.model_validate_json(generated.response or "")


async def test_images_and_thinking_are_taken(client: Client) -> None:
    talk = [{"role": "user", "content": "What is this?", "images": [PNG]}]
    assert (await settle(client.chat(MODEL, talk, think="low"))).message.content
    assert (await settle(client.generate(MODEL, "What is this?", images=[PNG], think=False))).response


async def test_a_prompt_is_answered_whole_and_streamed(client: Client) -> None:
    whole = await settle(client.generate(MODEL, "Tell me.", system="Be brief.", keep_alive="5m"))
    assert whole.response
    assert (whole.done, whole.done_reason) == (True, "stop")
    found = await lines(client.generate(MODEL, "Tell me.", system="Be brief.", stream=True))
    assert "".join(part.response for part in found) == whole.response
    assert found[-1].eval_count == whole.eval_count


async def test_a_text_is_continued_raw(client: Client) -> None:
    whole = await settle(client.generate("custom-completion", "Once upon", raw=True, options={"num_predict": 4}))
    assert (whole.done_reason, whole.eval_count) == ("length", 4)
    found = await lines(client.generate("custom-completion", "Once upon", suffix="end", stream=True))
    assert "".join(part.response for part in found)


async def test_log_probabilities_are_told(client: Client) -> None:
    found = await settle(client.chat(MODEL, ASK, logprobs=True, top_logprobs=2))
    assert found.logprobs
    assert found.logprobs[0].logprob <= 0
    assert found.logprobs[0].top_logprobs
    assert len(found.logprobs[0].top_logprobs) == 2


async def test_nothing_asked_loads_and_unloads(client: Client) -> None:
    assert (await settle(client.generate(MODEL, ""))).done_reason == "load"
    assert (await settle(client.generate(MODEL, "", keep_alive=0))).done_reason == "unload"
    assert (await settle(client.chat(MODEL, []))).done_reason == "load"
    assert [part.done_reason for part in await lines(client.chat(MODEL, [], stream=True))] == ["load"]


async def test_texts_become_vectors(client: Client) -> None:
    found = await settle(client.embed(MODEL, ["first", "second"], dimensions=8))
    assert found.model == MODEL
    assert [len(vector) for vector in found.embeddings] == [8, 8]
    assert found.prompt_eval_count == 2
    one = await settle(client.embed(MODEL, "first", dimensions=8))
    assert list(one.embeddings[0]) == list(found.embeddings[0])
    assert len((await settle(client.embeddings(MODEL, "first"))).embedding) > 100
    assert list((await settle(client.embed(MODEL, ""))).embeddings) == []
    assert list((await settle(client.embeddings(MODEL, ""))).embedding) == []


async def test_models_are_listed_and_shown(client: Client) -> None:
    listed = (await settle(client.list())).models
    assert [model.model for model in listed] == [
        "custom-chat:latest", "custom-completion:latest", "custom-embedding:latest",
    ]  # fmt: skip
    assert len({model.digest for model in listed}) == len(listed)
    for model in listed:
        assert model.model
        assert (await settle(client.chat(model.model, ASK))).model == model.model
        shown = await settle(client.show(model.model))
        assert shown.capabilities
        assert shown.modelinfo is not None
        assert shown.details is not None
    assert (await settle(client.ps())).models == []


async def test_failures_are_response_errors_with_their_status(client: Client) -> None:
    missing = await refusal(lambda: client.chat("fault-model-not-found", ASK))
    assert missing.status_code == 404
    assert missing.error.startswith("model 'fault-model-not-found' not found")
    assert (await refusal(lambda: client.chat("fault-429", ASK))).status_code == 429
    assert (await refusal(lambda: client.generate(MODEL, "x", template="{{ .Prompt }}"))).status_code == 400
    with pytest.raises(ollama.ResponseError) as refused:
        await lines(client.chat("fault-model-not-found", ASK, stream=True))
    assert refused.value.status_code == 404


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_wrong_key_is_401(kind: str, gateway: LiveGateway) -> None:
    make = ollama.AsyncClient if kind == "async" else ollama.Client
    stranger = make(host=gateway.base_url, headers={"authorization": "Bearer wrong"}, timeout=20)
    assert (await refusal(stranger.list)).status_code == 401
    await close(stranger)


async def test_a_stream_that_breaks_raises_and_is_not_done(client: Client) -> None:
    seen: list[Any] = []
    with pytest.raises(ollama.ResponseError):
        await collect(client.chat("fault-truncate", ASK, stream=True), seen)
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


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as fake:
        yield fake


@pytest.fixture(scope="module")
def fronting(upstream: Upstream) -> Iterator[LiveGateway]:
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, PROVIDER_LAB_BASE_URL=upstream.url) as live:
        yield live


@pytest.fixture(params=["sync", "async"])
async def far(request: pytest.FixtureRequest, fronting: LiveGateway) -> AsyncIterator[Client]:
    made = connect(request.param, fronting)
    yield made
    await close(made)


async def test_an_upstream_of_openais_wire_answers(far: Client, upstream: Upstream) -> None:
    options = {"seed": 7, "num_predict": 9, "stop": ["END"], "num_ctx": 4096}
    whole = await settle(far.chat("lab/far:latest", ASK, options=options, keep_alive=-1))
    assert (whole.message.content, whole.prompt_eval_count, whole.eval_count) == (TEXT, 7, 4)
    assert whole.model == "lab/far:latest"
    sent = upstream.last("far").json
    assert {name: sent[name] for name in ("model", "seed", "max_tokens", "stop", "stream")} == {
        "model": "far", "seed": 7, "max_tokens": 9, "stop": ["END"], "stream": False,
    }  # fmt: skip
    assert not {"options", "keep_alive", "num_ctx"} & sent.keys()
    found = await lines(far.chat("lab/far", ASK, stream=True))
    assert [part.message.content for part in found] == [*WORDS, ""]
    assert (found[-1].prompt_eval_count, found[-1].eval_count) == (7, 4)
    assert upstream.last("far").json["stream_options"] == {"include_usage": True}


async def test_an_upstreams_vectors_models_and_failures_arrive(far: Client) -> None:
    assert len((await settle(far.embed("lab/far", ["a", "b", "c"]))).embeddings) == 3
    listed = [model.model for model in (await settle(far.list())).models]
    assert "lab/up/model-a:7b" in listed
    assert "lab/plain-model:latest" in listed
    assert (await settle(far.show("lab/plain-model"))).capabilities == ["completion", "tools"]
    nobody = await refusal(lambda: far.chat("nobody-knows", ASK))
    assert nobody.status_code == 404
    assert nobody.error.startswith("model 'nobody-knows' not found")
    for status, told in ((400, 400), (429, 429), (401, 502), (500, 502), (503, 502)):
        assert (await refusal(partial(far.chat, f"lab/status-{status}", ASK))).status_code == told


@pytest.mark.parametrize("fault", ["stream-error", "stream-cut", "stream-reset", "stream-unfinished"])
async def test_an_upstreams_broken_stream_is_no_whole_answer(far: Client, fault: str) -> None:
    with pytest.raises(ollama.ResponseError):
        await lines(far.chat(f"lab/{fault}", ASK, stream=True))
