"""Any deltas at all, in any order: a stream with tools ends, adds up, and runs only what is there to be run."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, override

from hypothesis import given, settings, strategies as st

from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item
from ai_gateway.tools.loop import ToolLoop
from gateway_contract.openai import models
from tests.tools.asking import added_up
from tests.tools.test_loop_model import BODY, LIMITS, NAMES, Says, Script, chunk, offer

INDEXES = st.integers(0, 3)
FUNCTIONS = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(NAMES), "arguments": st.sampled_from(["", "{", "}", "{}", "x"])}
)
PIECES = st.fixed_dictionaries(
    {"index": INDEXES, "function": FUNCTIONS},
    optional={"id": st.sampled_from(["", "a", "b"]), "type": st.just("function")},
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": st.sampled_from(["", "a", "[1]", None]),
        "refusal": st.sampled_from(["no", None]),
        "tool_calls": st.lists(PIECES, max_size=3),
        "reasoning_content": st.sampled_from(["", "hm"]),
    },
)
ROUNDS = st.lists(st.lists(DELTAS, max_size=8), min_size=1, max_size=5)


@dataclass
class Raw(Script):
    """Plays deltas as they are; a round has begun with its first chunk and ends for a reason."""

    deltas: Sequence[Sequence[dict[str, Any]]] = ()

    @override
    async def chunks(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[Item[models.CreateChatCompletionStreamResponse]]:
        identifier, _ = self._next(body)
        said = self.deltas[min(len(self.asked), len(self.deltas)) - 1]
        yield chunk(identifier, {"role": "assistant", "content": ""})
        for delta in said:
            yield chunk(identifier, delta)
        yield chunk(identifier, {}, "tool_calls" if any(each.get("tool_calls") for each in said) else "stop")


async def play(rounds: Sequence[Sequence[dict[str, Any]]]) -> tuple[dict[str, Any], Raw]:
    raw = Raw([Says("", ())], deltas=rounds)
    body = models.CreateChatCompletionRequest.model_validate({**BODY, "stream": True}, strict=True)
    call = Call("createChatCompletion", "req_1", parsed={**BODY, "stream": True})
    loop = ToolLoop(raw, call, body, offer(), LIMITS, seconds=600, provider="lab")
    chunks = [item.model.model_dump(exclude_unset=True) async for item in loop.chunks() if isinstance(item, Item)]
    return added_up(chunks), raw


@settings(max_examples=150, deadline=None)
@given(rounds=ROUNDS)
def test_any_stream_ends_and_adds_up(rounds: list[list[dict[str, Any]]]) -> None:
    reply, raw = asyncio.run(play(rounds))
    message = reply["choices"][0]["message"]
    runs = message.get("gateway_tool_calls", [])
    assert len(raw.asked) <= LIMITS.rounds + 1
    assert sorted(run["index"] for run in runs) == list(range(len(runs)))
    assert len({run["id"] for run in runs}) == len(runs)
    assert all(run["result"]["tool_call_id"] == run["id"] for run in runs)
    assert all(run["status"] in {"completed", "failed"} for run in runs), "each started once, and was over once"
    spoken = [delta.get("content") or "" for said in raw_rounds(rounds, len(raw.asked)) for delta in said]
    assert (message.get("content") or "") == "".join(spoken)


def raw_rounds(rounds: Sequence[Sequence[dict[str, Any]]], asked: int) -> list[Sequence[dict[str, Any]]]:
    """The rounds that were played: the last one again and again."""
    return [rounds[min(at, len(rounds) - 1)] for at in range(asked)]
