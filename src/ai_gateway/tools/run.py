"""Runs tool calls: in parallel, each bounded in time and size. Failures become results."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import structlog
from pydantic import JsonValue

from ai_gateway.contract.call import Call
from ai_gateway.contract.rounds import ToolRun
from ai_gateway.errors import GatewayError
from ai_gateway.observability.metrics import Event, Timing, count, timed
from ai_gateway.observability.trace_names import EXECUTE_TOOL, Name, Step
from ai_gateway.tools.history import Called
from ai_gateway.tools.offer import Offer, Offered
from ai_gateway.tools.tool import Result, Use

# Copies of a result: itself, a message, and in the bodies of rounds; a character takes 1 to 4 bytes.
_PER_CHARACTER = 6
_MAX_NAME_LENGTH = 64
_log = structlog.get_logger(__name__)
_OVER_LIMIT = "Not run: the request allows no more calls of this tool. Answer with what there is."


def tool_span(call: Call, tool: str, call_id: str) -> AbstractContextManager[Mapping[str, str]]:
    """A span around a tool run. The block gets trace headers for requests of the tool; empty without tracing.

    An exception is recorded as the tool's failure. Arguments and results are not recorded.
    """
    if call.trace is None:
        return call.step(Step.TOOL, {})
    named = {Name.OPERATION: EXECUTE_TOOL, Name.TOOL_NAME: tool, Name.TOOL_CALL: call_id, Name.TOOL_TYPE: "function"}
    return call.step(Step.TOOL, named)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of tools in one request.

    A model may call tools in so many `rounds`, so many at once, and so many `in_all`, if the caller sets that; each for
    so many `seconds`. `result_size` and `arguments_size` are bytes. While tools run, a keep-alive is sent every
    `alive_s` seconds.
    """

    rounds: int = 8
    calls: int = 16
    seconds: float = 30.0
    result_size: int = 64 * 1024
    arguments_size: int = 256 * 1024
    in_all: int | None = None
    alive_s: float = 10.0  # idle timeouts of proxies are 30 seconds or more


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished call."""

    place: int
    called: Called
    result: Result
    run: ToolRun


async def run_all(  # noqa: PLR0913, PLR0917 - what a round of calls is made of
    call: Call,
    offer: Offer,
    calls: Sequence[Called],
    limits: Limits,
    seconds: float,
    starts: Callable[[Called, ToolRun], None] = lambda _called, _run: None,
) -> AsyncGenerator[Ran | None]:
    """Run all calls in parallel, yielding each when it ends; None periodically while none does.

    `starts` is called for each started call, with a failed run that is replaced at its end. Closing the generator
    cancels running calls.
    """
    done: asyncio.Queue[Ran] = asyncio.Queue()

    async def one(place: int, called: Called) -> None:
        done.put_nowait(await _run(call, offer, (place, called), limits, seconds, starts))

    tasks = [asyncio.create_task(one(place, called)) for place, called in enumerate(calls)]
    left = len(tasks)
    try:
        while left:
            try:
                async with asyncio.timeout(limits.alive_s):
                    ran = await done.get()
            except TimeoutError:
                yield None
                continue
            left -= 1
            yield ran
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(  # noqa: PLR0913, PLR0917 - as above
    call: Call,
    offer: Offer,
    which: tuple[int, Called],
    limits: Limits,
    seconds: float,
    starts: Callable[[Called, ToolRun], None],
) -> Ran:
    place, called = which
    began = time.time()
    offered = offer.functions.get(called.name)
    if (refusal := _refusal(offered, offer, which, limits)) is not None or offered is None:
        return Ran(place, called, refusal or Result("", failed=True), _noted(called, began))
    starts(called, ToolRun(offered.tool, began, began, failed=True, cost=offered.price))
    result = await _result(call, offered, called, limits, min(limits.seconds, seconds))
    result = _kept(call, _cut(result, limits.result_size))
    count(Event.TOOL_CALL, offered.tool, "failed" if result.failed else "completed")
    timed(Timing.TOOL, time.time() - began, offered.tool)
    return Ran(place, called, result, ToolRun(offered.tool, began, time.time(), result.failed, offered.price))


def _refusal(offered: Offered | None, offer: Offer, which: tuple[int, Called], limits: Limits) -> Result | None:
    """The reason not to run a call, if any."""
    place, called = which
    if offered is None:
        return Result(f"There is no tool '{called.name[:_MAX_NAME_LENGTH]}'.", failed=True)
    if not offer.allows(offered.tool):
        return Result(f"Not run: '{offered.name}' has been switched off for this project.", failed=True)
    if called.is_over_limit:
        return Result(_OVER_LIMIT, failed=True, error="max_uses_exceeded")
    if place >= limits.calls:
        return Result(f"Not run: no more than {limits.calls} tools may be called at once.", failed=True)
    return None


def _kept(call: Call, result: Result) -> Result:
    """The result, with its memory charged until the request's end; an error text if that does not fit."""
    size = len(result.text) * _PER_CHARACTER
    if not call.allocation.fits(size):
        count(Event.OVERLOAD, "tool results")
        return Result("The result was discarded: the gateway has no memory for it now. Go on without it.", failed=True)
    call.allocation.charge(size)
    return result


def _noted(called: Called, began: float) -> ToolRun:
    count(Event.TOOL_CALL, called.tool or "other", "refused")
    return ToolRun(called.tool, began, time.time(), failed=True)


async def _result(call: Call, offered: Offered, called: Called, limits: Limits, seconds: float) -> Result:
    try:
        arguments = _arguments(called.arguments, limits.arguments_size)
    except ValueError as error:
        return Result(f"Not run: {error}", failed=True, error="invalid_arguments")
    use = Use(call.caller, called.id, call.request_id, arguments, offered.options, seconds)
    clock = asyncio.timeout(seconds)
    try:
        with tool_span(call, offered.name, called.id):
            async with clock:
                return await offered.function.run(use)
    except TimeoutError:
        if clock.expired():
            stopped = f"'{offered.name}' was stopped: it took longer than {seconds:g} seconds."
            return Result(stopped, failed=True, error="timed_out")
        stopped = f"'{offered.name}' failed: it waited for something for too long."
        return Result(stopped, failed=True, error="timed_out")
    except GatewayError as error:
        return Result(f"'{offered.name}' failed: {error.message}", failed=True)
    except Exception as error:  # a tool's failure is reported to the model, and the request goes on
        _log.error("tool failed", request_id=call.request_id, tool=offered.tool, exc_info=error)
        return Result(f"'{offered.name}' failed.", failed=True)


def _arguments(text: str, most: int) -> Mapping[str, JsonValue]:
    """The JSON object. Raises ValueError for anything else."""
    if len(text.encode("utf-8", "surrogatepass")) > most:
        raise ValueError(f"the arguments have more than {most} bytes.")
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise ValueError("the arguments are not JSON.") from None
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are not a JSON object.")  # noqa: TRY004 - a model's mistake, reported to it
    return arguments


def _cut(result: Result, most: int) -> Result:
    """The result truncated to so many bytes, with a mark."""
    # PostgreSQL, behind some upstreams, cannot store NUL (postgresql.org "Character Types").
    raw = result.text.replace("\0", "\ufffd").encode("utf-8", "replace")
    if len(raw) <= most:
        return result if raw.decode() == result.text else replace(result, text=raw.decode())
    kept = raw[:most].decode("utf-8", "ignore")
    text = f"{kept}\n[cut off here: these are the first {most} of {len(raw)} bytes]"
    return replace(result, text=text)
