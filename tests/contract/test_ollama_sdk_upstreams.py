"""What Ollama's Python SDK asks for, as an upstream gets it, and what becomes of an upstream's failures."""

from collections.abc import AsyncIterator
from functools import partial

import ollama
import pytest

from tests.support.behaviours import TEXT, WORDS
from tests.support.gateway import LiveGateway
from tests.support.ollama_client import Client, close, connect, lines, refusal, settle
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

MODEL = "custom-chat"
ASK = [{"role": "user", "content": "Tell me about the tides, please."}]


@pytest.fixture
def kind() -> str:
    return "sync"


@pytest.fixture
async def far(kind: str, relay: LiveGateway) -> AsyncIterator[Client]:
    made = connect(kind, relay)
    yield made
    await close(made)


@pytest.fixture
async def near(kind: str, gateway: LiveGateway) -> AsyncIterator[Client]:
    made = connect(kind, gateway)
    yield made
    await close(made)


async def test_a_wrong_key_is_401(kind: str, gateway: LiveGateway) -> None:
    stranger = connect(kind, gateway, "wrong")
    assert (await refusal(stranger.list)).status_code == 401
    await close(stranger)


async def test_the_built_in_models_keep_to_what_they_are_asked(near: Client) -> None:
    stopped = await settle(near.chat(MODEL, ASK, options=ollama.Options(stop=["tides"], seed=1)))
    assert stopped.message.content is not None
    assert "tides" not in stopped.message.content
    raw = await settle(near.generate("custom-completion", "Once upon", raw=True, options={"num_predict": 4}))
    assert (raw.done_reason, raw.eval_count) == ("length", 4)
    found = await settle(near.embed(MODEL, ["first", "second"], dimensions=8))
    assert [len(vector) for vector in found.embeddings] == [8, 8]
    assert found.prompt_eval_count == 2
    assert [model.model for model in (await settle(near.list())).models] == [
        "custom-chat:latest", "custom-completion:latest", "custom-embedding:latest",
    ]  # fmt: skip
    assert (await refusal(lambda: near.generate(MODEL, "x", template="{{ .Prompt }}"))).status_code == 400


@pytest.mark.parametrize("kind", ["sync", "async"])
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
    for status, reported in ((400, 400), (429, 429), (401, 502), (500, 502), (503, 502)):
        assert (await refusal(partial(far.chat, f"lab/status-{status}", ASK))).status_code == reported


@pytest.mark.parametrize("fault", ["stream-error", "stream-cut", "stream-reset", "stream-unfinished"])
async def test_an_upstreams_broken_stream_is_no_whole_answer(far: Client, fault: str) -> None:
    with pytest.raises(ollama.ResponseError):
        await lines(far.chat(f"lab/{fault}", ASK, stream=True))
