"""The loop against a model of it: whatever a model of language says and calls, the answer is what the rules say."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, override

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import MISSING

from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item, Verbatim
from ai_gateway.errors import UnsupportedValue
from ai_gateway.tools.loop import Rounds, ToolLoop
from ai_gateway.tools.offer import Offer
from ai_gateway.tools.run import Limits
from ai_gateway.tools.tool import Citation, Function, Result, Use
from gateway_contract.openai import models
from tests.tools.asking import added_up

LIMITS = Limits(rounds=3, calls=3, seconds=0.02, result_size=300, arguments_size=1_000)
OUR_NAMES = ("gateway_good", "gateway_bad", "gateway_refuses", "gateway_slow", "gateway_long")
NAMES = (*OUR_NAMES, "gateway_unknown", "own", "gateway_own")
CLIENTS = {"own", "gateway_own"}
THOUGHT = {"reasoning_tokens": 1}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "completion_tokens_details": THOUGHT}


@dataclass(frozen=True)
class Says:
    text: str
    calls: tuple[tuple[str, str], ...]


async def good(use: Use) -> Result:
    return Result(f"good {use.arguments}", citations=(Citation(f"https://example.com/{use.call_id}", "A"),))


async def bad(_: Use) -> Result:
    return Result("bad", failed=True)


async def refuses(_: Use) -> Result:
    raise UnsupportedValue("no")


async def slow(_: Use) -> Result:
    await asyncio.sleep(60)
    return Result("late")


async def long(_: Use) -> Result:
    return Result("ü" * 1_000)


RUNS = dict(zip(OUR_NAMES, (good, bad, refuses, slow, long), strict=True))


def offer() -> Offer:
    made = Offer()
    functions = [Function(name.removeprefix("gateway_"), name, {"type": "object"}, run) for name, run in RUNS.items()]
    made.add(0, "web_search", {}, 0, functions)
    return made


@dataclass
class Script(Rounds):
    """Plays the rounds, and keeps what it was asked. The last one is said for as long as it is asked."""

    rounds: Sequence[Says]
    asked: list[models.CreateChatCompletionRequest] = field(default_factory=list)
    closed: int = 0
    over_: int = 0

    def _next(self, body: models.CreateChatCompletionRequest) -> tuple[str, Says]:
        said = self.rounds[min(len(self.asked), len(self.rounds) - 1)]
        self.asked.append(body)
        return f"id-{len(self.asked)}", said

    @override
    async def reply(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> Item[models.CreateChatCompletionResponse]:
        identifier, said = self._next(body)
        message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
        if said.calls:
            message["tool_calls"] = [whole_call(at, each) for at, each in enumerate(said.calls)]
        choice = {"index": 0, "message": message, "finish_reason": finish(said), "logprobs": None}
        head = {"id": identifier, "object": "chat.completion", "created": 1, "model": "m"}
        fields = {**head, "choices": [choice], "usage": USAGE}
        return Item(models.CreateChatCompletionResponse.model_validate(fields, strict=True))

    @override
    async def chunks(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[Item[models.CreateChatCompletionStreamResponse] | Verbatim]:
        identifier, said = self._next(body)
        try:
            yield chunk(identifier, {"role": "assistant", "content": ""})
            for letter in said.text:
                yield chunk(identifier, {"content": letter})
            for at, each in enumerate(said.calls):
                call_ = whole_call(at, each)
                function = {"name": each[0], "arguments": ""}
                yield chunk(identifier, {"tool_calls": [{**call_, "index": at, "function": function}]})
                for letter in each[1]:
                    piece = {"index": at, "function": {"arguments": letter}}
                    yield chunk(identifier, {"tool_calls": [piece]})
            yield chunk(identifier, {}, finish(said))
            yield chunk(identifier, None, usage=USAGE)
        finally:
            self.closed += 1

    @override
    def cost(self, call: Call) -> int | None:
        return None

    @override
    async def over(self, call: Call, started: float, *, stream: bool) -> None:
        self.over_ += 1


def whole_call(at: int, each: tuple[str, str]) -> dict[str, Any]:
    return {"id": f"call_{at}", "type": "function", "function": {"name": each[0], "arguments": each[1]}}


def finish(said: Says) -> str:
    return "tool_calls" if said.calls else "stop"


def chunk(identifier: str, delta: Any, reason: str | None = None, **more: Any) -> Item[Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    head = {"id": identifier, "object": "chat.completion.chunk", "created": 1, "model": "m"}
    fields = {**head, "choices": choices, **more}
    return Item(models.CreateChatCompletionStreamResponse.model_validate(fields, strict=True))


@dataclass(frozen=True)
class Expected:
    """What the rules say of a script."""

    text: str
    runs: list[tuple[str, str, int]]
    client_calls: list[str]
    finish: str
    rounds: int


def expected(script: Sequence[Says]) -> Expected:
    text, runs, number = "", list[tuple[str, str, int]](), 0
    while True:
        number += 1
        said = script[min(number - 1, len(script) - 1)]
        text += said.text
        ours = [each for each in said.calls if each[0] not in CLIENTS]
        theirs = [name for name, _ in said.calls if name in CLIENTS]
        if number > LIMITS.rounds:
            reason = "tool_calls" if theirs else "length" if ours else "stop"
            return Expected(text, runs, theirs, reason, number)
        runs += [(name, status(at, name, arguments), number) for at, (name, arguments) in enumerate(ours)]
        if theirs or not ours:
            return Expected(text, runs, theirs, "tool_calls" if theirs else "stop", number)


def status(at: int, name: str, arguments: str) -> str:
    is_good = name in {"gateway_good", "gateway_long"} and arguments == "{}" and at < LIMITS.calls
    return "completed" if is_good else "failed"


CALLS = st.tuples(st.sampled_from(NAMES), st.sampled_from(["{}", "[]", "{"]))
TEXTS = st.sampled_from(["", "a", "ä[1] b"])
SCRIPTS = st.lists(st.builds(Says, TEXTS, st.lists(CALLS, max_size=5).map(tuple)), min_size=1, max_size=5)
FUNCTION = {"type": "function", "function": {"name": "own"}}
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "a"}],
    "tools": [{"type": "gateway:web_search"}, FUNCTION, {"type": "function", "function": {"name": "gateway_own"}}],
    "stream_options": {"include_usage": True},
}


async def play(script: Sequence[Says], *, stream: bool) -> tuple[dict[str, Any], Script]:
    rounds = Script(script)
    body = models.CreateChatCompletionRequest.model_validate({**BODY, "stream": stream}, strict=True)
    call = Call("createChatCompletion", "req_1", parsed={**BODY, "stream": stream})
    loop = ToolLoop(rounds, call, body, offer(), LIMITS, seconds=600, provider="lab")
    if not stream:
        return (await loop.reply()).model.model_dump(exclude_unset=True), rounds
    chunks = [item.model.model_dump(exclude_unset=True) async for item in loop.chunks() if isinstance(item, Item)]
    return added_up(chunks), rounds


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@settings(max_examples=40, deadline=None)
@given(script=SCRIPTS)
def test_the_loop_does_what_its_rules_say(script: list[Says], stream: bool) -> None:
    reply, rounds = asyncio.run(play(script, stream=stream))
    rules = expected(script)
    choice = reply["choices"][0]
    message = choice["message"]
    runs = sorted(message.get("gateway_tool_calls", []), key=lambda run: run["index"])
    assert (message["content"] or "") == rules.text
    assert [(run["function"]["name"], run["status"], run["round"]) for run in runs] == rules.runs
    assert [call["function"]["name"] for call in message.get("tool_calls") or []] == rules.client_calls
    assert choice["finish_reason"] == rules.finish
    assert len(rounds.asked) == rules.rounds
    assert rounds.over_ == rules.rounds - 1
    assert rounds.closed == (rules.rounds if stream else 0)
    assert reply["usage"]["total_tokens"] == 5 * rules.rounds
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == rules.rounds
    assert len({run["id"] for run in runs}) == len(runs)
    assert all(run["result"]["tool_call_id"] == run["id"] for run in runs)
    check_requests(rounds.asked, rules)


def check_requests(asked: Sequence[models.CreateChatCompletionRequest], rules: Expected) -> None:
    """Each round has what came before it, and the last one none of our tools."""
    for number, body in enumerate(asked, 1):
        names = [tool.function.name for tool in body.tools or () if isinstance(tool, models.ChatCompletionTool)]
        withdrawn = number > LIMITS.rounds
        assert names == ([] if withdrawn else list(OUR_NAMES)) + ["own", "gateway_own"]
        results = [one for one in body.messages if isinstance(one, models.ChatCompletionRequestToolMessage)]
        assert len(results) == sum(1 for *_, of_round in rules.runs if of_round < number)


def test_closing_a_stream_stops_what_runs() -> None:
    stopped = asyncio.Event()

    async def hangs(_: Use) -> Result:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return Result("late")

    async def leave() -> None:
        made = Offer()
        made.add(0, "web_search", {}, 0, [Function("good", "", {"type": "object"}, hangs)])
        body = models.CreateChatCompletionRequest.model_validate({**BODY, "stream": True}, strict=True)
        rounds = Script([Says("", (("gateway_good", "{}"),))])
        limits = replace(LIMITS, seconds=60)
        items = ToolLoop(rounds, Call("c", "req_1"), body, made, limits, seconds=600, provider="lab").chunks()
        async for item in items:
            assert isinstance(item, Item)
            if item.model.choices[0].delta.gateway_tool_calls is not MISSING:
                break
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait({waiting})
        await items.aclose()

    asyncio.run(leave())
    assert stopped.is_set()


def test_a_loop_out_of_time_asks_for_the_answer_without_tools() -> None:
    rounds = Script([Says("a", (("gateway_good", "{}"),))])
    body = models.CreateChatCompletionRequest.model_validate(BODY, strict=True)

    async def play_late() -> models.CreateChatCompletionResponse:
        loop = ToolLoop(rounds, Call("c", "req_1"), body, offer(), LIMITS, seconds=0.0, provider="lab")
        loop._turn.deadline += 0.05  # some of the last quarter is left
        loop._turn._kept_s = 1.0
        return (await loop.reply()).model

    reply = asyncio.run(play_late())
    assert len(rounds.asked) == 2
    assert [tool.function.name for tool in rounds.asked[1].tools or ()] == ["own", "gateway_own"]  # type: ignore[union-attr]
    assert reply.choices[0].finish_reason == "length"
