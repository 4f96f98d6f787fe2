"""What tools bring, and what is kept of rounds, is charged to the memory that all requests share."""

import asyncio
from collections.abc import Iterator
from typing import Any, override

import pytest

from ai_gateway.contract.budget import Allocation, ByteBudget
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item
from ai_gateway.errors import Overloaded
from ai_gateway.tools.history import Called
from ai_gateway.tools.loop import ToolLoop
from ai_gateway.tools.offer import Offer
from ai_gateway.tools.run import Limits, run_all
from ai_gateway.tools.tool import Function, Result, Use
from gateway_contract.openai import models
from tests.support.client import eventually, get, post
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream
from tests.tools.asking import asked, message_of
from tests.tools.scripted import Says, search
from tests.tools.test_loop_model import BODY, LIMITS, Says as Said, Script, offer

SEARCH = ({"type": "gateway:web_search", "max_results": 20},)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def small(model: Upstream) -> Iterator[LiveGateway]:
    """A gateway with room for 100 kB, of which one result of a search takes about 17."""
    env = {"PROVIDER_LAB_BASE_URL": model.url, "TOOL_WEB_SEARCH": "custom", "TOOL_WEB_SEARCH_RESULTS_MAX": "20"}
    env |= {"BODIES_MAX_SIZE": "100000", "REQUEST_MAX_SIZE": "50000", "ALLOWED_API_KEYS": TEST_KEY}
    with running_gateway(**env, **ONE_ATTEMPT) as running:
        yield running


@BOTH
def test_results_beyond_the_memory_there_is_are_words_that_say_so(
    small: LiveGateway, model: Upstream, stream: bool
) -> None:
    name = f"fills-{stream}"
    rounds = [Says(calls=tuple(search(f"{at}-{call}") for call in range(4))) for at in range(3)]
    for _ in range(2):  # what the first request has used is free again for the second
        message = message_of(asked(small, name, *rounds, Says("Done."), stream=stream, tools=SEARCH))
        runs = sorted(message["gateway_tool_calls"], key=lambda run: run["index"])
        kept = [run for run in runs if run["status"] == "completed"]
        assert 2 <= len(kept) <= 8
        discarded = {run["result"]["content"] for run in runs if run["status"] == "failed"}
        assert discarded == {"The result was discarded: the gateway has no memory for it now. Go on without it."}
        assert message["content"] == "Done."
    turned_away = 'ai_gateway_overloads_total{what="tool results"}'
    eventually(lambda: turned_away in get(small, "/metrics").text)


def test_other_requests_have_room_while_results_are_discarded(small: LiveGateway) -> None:
    body = {"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}
    assert post(small, "/custom/v1/chat/completions", body).status_code == 200


@pytest.mark.anyio
async def test_a_result_is_charged_until_its_request_ends() -> None:
    async def says(use: Use) -> Result:
        return Result("x" * 1_000)

    made, budget = Offer(), ByteBudget(14_000)
    made.add(0, "memory", {}, 0, [Function("says", "", {"type": "object"}, says)])
    call = Call("c", "r", allocation=Allocation(budget))
    calls = [Called(f"c{at}", "gateway_says", "{}") for at in range(4)]
    found = [ran async for ran in run_all(call, made, calls, Limits(), 60)]
    assert [ran.result.failed for ran in found if ran] == [False, False, True, True]
    assert budget.used == 12_000
    call.allocation.release()
    assert budget.used == 0


def test_a_model_that_streams_arguments_without_end_is_stopped() -> None:
    piece, budget = "x" * 60_000, ByteBudget(2_000_000)
    read = 0

    class Endless(Script):
        @override
        async def chunks(self, call: Call, body: models.CreateChatCompletionRequest) -> Any:
            nonlocal read
            self._next(body)
            head = {"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            while read < 1_000:
                read += 1
                function = {"name": "gateway_good"} if read == 1 else {"arguments": piece}
                call_ = {"index": 0, "id": "c", "type": "function", "function": function}
                choice = {"index": 0, "delta": {"tool_calls": [call_]}, "finish_reason": None}
                yield Item(models.CreateChatCompletionStreamResponse.model_validate({**head, "choices": [choice]}))

    async def play() -> None:
        body = models.CreateChatCompletionRequest.model_validate({**BODY, "stream": True}, strict=True)
        call = Call("c", "req_1", allocation=Allocation(budget))
        loop = ToolLoop(Endless([Said("", ())]), call, body, offer(), LIMITS, seconds=600, provider="lab")
        async for _ in loop.chunks():
            pass

    with pytest.raises(Overloaded):
        asyncio.run(play())
    assert read < 20
