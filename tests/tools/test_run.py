"""Running what was called: together, within time and size, and with every failure told in words."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from ai_gateway.contract.call import Call
from ai_gateway.observability.trace_names import Name, Step
from ai_gateway.tools.history import Called
from ai_gateway.tools.offer import Offer
from ai_gateway.tools.run import Limits, Ran, run_all
from ai_gateway.tools.tool import Function, Result, Use

pytestmark = pytest.mark.anyio
LIMITS = Limits()


def offer(**runs: Callable[[Use], Awaitable[Result]]) -> Offer:
    made = Offer()
    made.add(
        0, "memory", {"subject": "a"}, 7, [Function(name, "", {"type": "object"}, ran) for name, ran in runs.items()]
    )
    return made


async def results(made: Offer, *calls: Called, limits: Limits = LIMITS, seconds: float = 60) -> list[Ran | None]:
    return [ran async for ran in run_all(Call("chat", "req_9"), made, calls, limits, seconds)]


async def test_calls_run_at_the_same_time() -> None:
    together = asyncio.Barrier(3)

    async def waits(use: Use) -> Result:
        async with asyncio.timeout(30):
            await together.wait()
        return Result(str(use.arguments["n"]))

    calls = [Called(f"c{n}", "gateway_waits", f'{{"n": {n}}}') for n in range(3)]
    found = await results(offer(waits=waits), *calls)
    assert {ran.called.id: ran.result.text for ran in found if ran} == {"c0": "0", "c1": "1", "c2": "2"}
    assert sorted(ran.place for ran in found if ran) == [0, 1, 2]


async def test_a_tool_learns_who_calls_and_what_was_asked_for() -> None:
    seen: list[Use] = []

    async def notes(use: Use) -> Result:
        seen.append(use)
        return Result("")

    await results(offer(notes=notes), Called("c", "gateway_notes", ""), limits=Limits(seconds=9), seconds=4)
    (use,) = seen
    assert (use.call_id, use.session, use.arguments, use.options, use.seconds) == (
        "c",
        "req_9",
        {},
        {"subject": "a"},
        4,
    )


async def test_a_slow_tool_is_stopped_and_says_so() -> None:
    stopped = False

    async def slow(_: Use) -> Result:
        nonlocal stopped
        try:
            await asyncio.sleep(60)
        finally:
            stopped = True
        return Result("")

    began = time.monotonic()
    (ran,) = await results(offer(slow=slow), Called("c", "gateway_slow", "{}"), limits=Limits(seconds=0.05))
    assert ran is not None
    assert (ran.result.text, stopped) == ("'gateway_slow' was stopped: it took longer than 0.05 seconds.", True)
    assert time.monotonic() - began < 30
    assert (ran.run.name, ran.run.failed, ran.run.cost) == ("memory", True, 7)


async def test_what_a_tool_breaks_on_is_not_told() -> None:
    async def breaks(_: Use) -> Result:
        raise RuntimeError("postgresql://user:password@host")

    (ran,) = await results(offer(breaks=breaks), Called("c", "gateway_breaks", "{}"))
    assert ran is not None
    assert ran.result == Result("'gateway_breaks' failed.", failed=True)


async def test_a_timeout_inside_a_tool_is_its_own() -> None:
    async def gives_up(_: Use) -> Result:
        raise TimeoutError

    (ran,) = await results(offer(gives_up=gives_up), Called("c", "gateway_gives_up", "{}"))
    assert ran is not None
    assert ran.result.text == "'gateway_gives_up' failed: it waited for something for too long."


@pytest.mark.parametrize(
    "arguments", ["[]", "1", '"a"', "{", "nul", "{} x", "[" * 100_000, '{"a": "' + "x" * 300_000 + '"}'], ids=repr
)
async def test_arguments_that_are_no_object_are_told(arguments: str) -> None:
    async def never(_: Use) -> Result:
        raise AssertionError("it is not called")

    (ran,) = await results(offer(never=never), Called("c", "gateway_never", arguments))
    assert ran is not None
    assert ran.result.failed
    assert ran.result.text.startswith("Not run: the arguments")


async def test_a_cut_result_is_whole_characters() -> None:
    async def long(_: Use) -> Result:
        return Result("äöü" * 1_000)

    (ran,) = await results(offer(long=long), Called("c", "gateway_long", "{}"), limits=Limits(result_size=301))
    assert ran is not None
    assert ran.result.text == "äöü" * 50 + "\n[cut off here: these are the first 301 of 6000 bytes]"


async def test_half_a_character_of_a_tool_does_not_break_what_is_made_of_it() -> None:
    async def odd(_: Use) -> Result:
        return Result("a\ud800b")

    (ran,) = await results(offer(odd=odd), Called("c", "gateway_odd", "{}"))
    assert ran is not None
    assert ran.result.text == "a?b"


async def test_while_nothing_ends_there_are_signs_of_life() -> None:
    ends = asyncio.Event()

    async def waits(_: Use) -> Result:
        await ends.wait()
        return Result("done")

    signs = 0
    called, limits = [Called("c", "gateway_waits", "{}")], Limits(alive_s=0.02)
    async for ran in run_all(Call("c", "r"), offer(waits=waits), called, limits, 60):
        if ran is None:
            signs += 1
            if signs == 3:
                ends.set()
        else:
            assert ran.result.text == "done"
    assert signs >= 3


@dataclass
class Steps:
    """A trace that keeps what was done under which name."""

    done: list[tuple[str, object]] = field(default_factory=list)

    @contextmanager
    def step(self, step: Step, attributes: Mapping[Any, Any]) -> Iterator[Mapping[str, str]]:
        self.done.append((step, attributes.get(Name.TOOL_NAME)))
        yield {}


async def test_a_tool_is_a_span_of_its_requests_trace() -> None:
    async def good(_: Use) -> Result:
        return Result("done")

    call, steps = Call("chat", "req_9"), Steps()
    call.trace = cast("Any", steps)
    called = [Called("c", "gateway_good", "{}"), Called("d", "gateway_unknown", "{}")]
    assert len([ran async for ran in run_all(call, offer(good=good), called, LIMITS, 60)]) == 2
    assert steps.done == [(Step.TOOL, "gateway_good")]
