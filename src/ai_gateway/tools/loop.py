"""The tool loop: call the model, run the gateway's tools that it calls, and call it again with the results.

It is above the gateway's path of a call (`Rounds`): each round is an ordinary call, with routing, limits, failover and
a usage record. Its format is that of chat completions: handlers of any wire read `gateway_tool_calls` of a whole
message or of the deltas of a stream, where an entry without `status` has started, and one with `completed` or `failed`
is finished and has the message with the result.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Protocol

from pydantic import ValidationError
from pydantic_core import to_json

from ai_gateway.contract.budget import Growth
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Conformed, Item, Verbatim
from ai_gateway.contract.write import to_fields
from ai_gateway.errors import UpstreamTimeout
from ai_gateway.tools.history import Called
from ai_gateway.tools.offer import Offer
from ai_gateway.tools.run import Limits, Ran, run_all
from ai_gateway.tools.turn import RoundReply, Turn
from gateway_contract.openai import models

type Body = models.CreateChatCompletionRequest
type Reply = models.CreateChatCompletionResponse
type Chunk = models.CreateChatCompletionStreamResponse
type Fields = dict[str, Any]
type SoFar = Callable[[Callable[[], Item[Reply]]], None]
"""Called after each round with a function that gives the reply so far."""

_MAX_S = 3600.0
_PER_BYTE = 3  # copies: as a piece, joined, and in the next round's request
_A_PIECE = 80  # bytes of a piece beside its text
_ALIVE = Verbatim(())  # a keep-alive
_OF_A_CHUNK = ("id", "object", "created", "model")


class Rounds(Protocol):
    """Sends the rounds."""

    async def reply(self, call: Call, body: Body) -> Item[Reply]:
        """The whole reply of a round."""
        ...

    def chunks(self, call: Call, body: Body) -> AsyncGenerator[Conformed[Chunk]]:
        """The stream of a round, items only: because of `call.round`, nothing is relayed."""
        ...

    def cost(self, call: Call) -> int | None:
        """The cost of the call and its earlier rounds, if the caller requested it in the usage."""
        ...

    async def over(self, call: Call, started: float, *, stream: bool) -> None:
        """Settle and record a round that another one follows. `started` is of `time.perf_counter`."""
        ...


class ToolLoop:
    """The loop of one request. `seconds` bounds all its rounds; `provider` is the first target's."""

    def __init__(  # noqa: PLR0913 - what one request is made of
        self, rounds: Rounds, call: Call, body: Body, offer: Offer, limits: Limits, *, seconds: float, provider: str
    ) -> None:
        self._rounds = rounds
        self._call = call
        self._body = body
        self._limits = limits
        self._provider = provider
        self._turn = Turn(call, body, offer, limits, seconds if math.isfinite(seconds) else _MAX_S)
        self._head: Fields = {}
        self._theirs_run: dict[tuple[int, int], int] = {}  # renumbered entries of a gateway behind this one
        self._others: dict[int, int] = {}  # the caller's own calls of the round, by the model's index
        self._kept = Growth(call.allocation, _PER_BYTE)  # the content of a stream, kept for later rounds

    # -- whole --

    async def reply(self, so_far: SoFar = lambda _: None) -> Item[Reply]:
        """The reply of all rounds together. `so_far` gets a function for the rounds so far."""
        logprobs: Fields = {}
        turn, merged = self._turn, RoundReply()
        try:
            while True:
                call, body = turn.begin()
                try:
                    item = await self._in_time(self._rounds.reply(call, body))
                finally:
                    turn.show()
                round_reply = _content_of(item.model)
                if isinstance(item.model.usage, models.CompletionUsage):
                    turn.add_usage(item.model.usage)
                fields = {name: value for name, value in round_reply.fields.items() if name not in _NOT_MERGED}
                turn.add_message(fields)
                merged.add(fields)
                logprobs = _joined(logprobs, item.model)
                ours = turn.calls_of(round_reply)
                if not ours and turn.number == 1:
                    return item
                if ours and not turn.is_last:
                    ran = [turn.take(each) async for each in self._run(ours) if each is not None]
                    turn.add(round_reply, ran)
                    so_far(partial(self._whole, item, round_reply, merged, logprobs))
                if not ours or turn.is_last or len(ours) < len(round_reply.calls) or round_reply.custom:
                    return self._whole(item, round_reply, merged, logprobs)
                await self._next(stream=False)
        finally:
            turn.release()

    async def _in_time[Value](self, work: Awaitable[Value]) -> Value:
        clock = asyncio.timeout(max(0.0, self._turn.deadline - time.monotonic()))
        try:
            async with clock:
                return await work
        except TimeoutError:
            if clock.expired():
                raise UpstreamTimeout.of(self._provider) from None
            raise

    def _whole(self, last: Item[Reply], round_reply: RoundReply, merged: RoundReply, logprobs: Fields) -> Item[Reply]:
        """The last round's reply, with texts, calls and usage of all rounds.

        An invalid reply, which only mode `observe` lets through, stays unchanged.
        """
        turn = self._turn
        fields: Fields = to_fields(last.model)
        if not fields.get("choices"):
            return last
        choice: Fields = dict(fields["choices"][0])
        message: Fields = {"role": "assistant", "content": None, "refusal": None, **choice["message"], **merged.fields}
        theirs = [each for each in message.pop("tool_calls", ()) if not turn.is_gateway_function(_name_of(each))]
        if theirs:
            message["tool_calls"] = theirs
        if turn.ran:
            entries = [*(message.get("gateway_tool_calls") or ()), *map(to_fields, turn.entries())]
            message["gateway_tool_calls"] = [{**entry, "index": at} for at, entry in enumerate(entries)]
        if notes := turn.annotations():
            message["annotations"] = notes
        choice["message"] = message
        if logprobs:
            choice["logprobs"] = {"content": None, "refusal": None, **(choice.get("logprobs") or {}), **logprobs}
        choice["finish_reason"] = _finish(choice["finish_reason"], round_reply, is_calling=bool(theirs))
        fields["choices"] = [choice]
        if turn.usage:
            fields["usage"] = turn.usage
        try:
            return Item(models.CreateChatCompletionResponse.model_validate(fields, strict=True))
        except ValidationError:  # in mode `observe`
            return Item(last.model, to_json(fields))

    # -- streamed --

    def chunks(self) -> AsyncGenerator[Conformed[Chunk]]:
        """The stream of all rounds together: one id, one finish reason, and the total usage."""
        # Several choices are only possible without gateway-run tools on offer.
        return self._one_round() if (self._body.n or 1) > 1 else self._all_rounds()

    async def _all_rounds(self) -> AsyncGenerator[Conformed[Chunk]]:
        turn = self._turn
        try:
            while True:
                round_reply = RoundReply()
                self._others.clear()
                async with aclosing(self._round(round_reply)) as items:
                    async for item in items:
                        yield item
                ours = turn.calls_of(round_reply)
                if ours and not turn.is_last:
                    async with aclosing(self._progress(ours, round_reply)) as items:
                        async for item in items:
                            yield item
                if not ours or turn.is_last or self._others or round_reply.custom:
                    for item in self._end(round_reply):
                        yield item
                    return
                await self._next(stream=True)
        finally:
            turn.release()

    async def _one_round(self) -> AsyncGenerator[Conformed[Chunk]]:
        call, body = self._turn.begin()
        try:
            async with aclosing(self._rounds.chunks(call, body)) as items:
                async for item in items:
                    self._turn.show()
                    yield item
        finally:
            self._turn.show()
            self._turn.release()

    async def _progress(self, ours: Sequence[Called], round_reply: RoundReply) -> AsyncGenerator[Conformed[Chunk]]:
        """Run the gateway's calls, and report the start and end of each."""
        turn = self._turn
        first = len(turn.ran) + len(self._theirs_run)
        for at, called in enumerate(ours):
            yield self._chunk({"gateway_tool_calls": [to_fields(called.started(first + at))]})
        ran: list[Ran] = []
        async with aclosing(self._run(ours)) as results:
            async for each in results:
                if each is None:
                    yield self._alive()
                    continue
                taken = turn.take(each)
                ran.append(taken)
                ended = each.called.ended(first + each.place, taken.result)
                yield self._chunk({"gateway_tool_calls": [to_fields(ended)]})
        turn.add(round_reply, ran)

    async def _round(self, round_reply: RoundReply) -> AsyncGenerator[Conformed[Chunk]]:
        """The chunks of a round for the caller: without gateway-run calls, usage and finish reason."""
        turn = self._turn
        call, body = turn.begin()
        try:
            async with aclosing(self._rounds.chunks(call, body)) as items:
                shown = False
                async for item in items:
                    if not shown:
                        turn.show()  # before the head of the reply goes out
                        shown = True
                    if not isinstance(item, Item) or "id" not in item.model.model_fields_set:
                        yield item  # an invalid event in mode `observe`
                    elif (passed := self._for_caller(item, round_reply)) is not None:
                        yield passed
        finally:
            turn.show()

    def _for_caller(self, item: Item[Chunk], round_reply: RoundReply) -> Item[Chunk] | None:
        turn = self._turn
        fields: Fields = to_fields(item.model)
        is_first = not self._head
        if is_first:
            self._head = {name: fields[name] for name in _OF_A_CHUNK if name in fields}
        if isinstance(item.model.usage, models.CompletionUsage):
            turn.add_usage(item.model.usage)
        fields.pop("usage", None)
        fields |= self._head
        if not fields.get("choices"):
            return None
        choice: Fields = dict(fields["choices"][0])
        delta: Fields = dict(choice.get("delta") or {})
        if not is_first:
            delta.pop("role", None)
        calls = delta.pop("tool_calls", None)
        self._kept.add(_size(delta) + sum(map(_size, calls or ())))
        # On other wires, events belong to the open text.
        turn.add_message(delta, at_once=self._call.wire.name != "openai")
        round_reply.add(delta)
        round_reply.finish = choice.get("finish_reason") or round_reply.finish
        self._number(delta)
        if theirs := self._theirs(calls or (), round_reply):
            delta["tool_calls"] = theirs
        if not is_first and not any(delta.values()) and not choice.get("logprobs"):
            return None
        fields["choices"] = [{**choice, "delta": delta, "finish_reason": None}]
        try:
            return Item(models.CreateChatCompletionStreamResponse.model_validate(fields, strict=True))
        except ValidationError:
            return item

    def _number(self, delta: Fields) -> None:
        """Renumber the provider's own entries among ours."""
        if (entries := delta.get("gateway_tool_calls")) is None:
            return
        for entry in entries:
            place = len(self._turn.ran) + len(self._theirs_run)
            entry["index"] = self._theirs_run.setdefault((self._turn.number, entry.get("index", 0)), place)

    def _theirs(self, pieces: Sequence[Fields], round_reply: RoundReply) -> list[Fields]:
        """The pieces of the caller's own calls, numbered as if there were no others."""
        found = []
        for piece in pieces:
            called = round_reply.add_call(piece)
            if not self._turn.is_gateway_function(called.name):
                index = self._others.setdefault(piece["index"], len(self._others))
                found.append({**piece, "index": index})
        return found

    def _chunk(self, delta: Fields, finish: str | None = None) -> Item[Chunk]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        fields = {**self._head, "choices": [choice]}
        return Item(models.CreateChatCompletionStreamResponse.model_validate(fields, strict=True))

    def _alive(self) -> Item[Chunk] | Verbatim:
        """A keep-alive chunk."""
        return _ALIVE if self._call.wire.name == "openai" else self._chunk({})

    def _end(self, round_reply: RoundReply) -> list[Item[Chunk]]:
        notes = self._turn.annotations()
        finish = _finish(round_reply.finish or "stop", round_reply, is_calling=bool(self._others))
        ends = [self._chunk({"annotations": notes} if notes else {}, finish)]
        options = self._body.stream_options
        if options is not None and options.include_usage and self._turn.usage:
            cost = self._rounds.cost(self._call)
            usage = self._turn.usage if cost is None else {**self._turn.usage, "cost": cost / 10**12}
            fields = {**self._head, "choices": [], "usage": usage}
            ends.append(Item(models.CreateChatCompletionStreamResponse.model_validate(fields, strict=True)))
        return ends

    # -- both --

    async def _run(self, calls: Sequence[Called]) -> AsyncGenerator[Ran | None]:
        """Run the calls; None periodically while none ends."""
        turn = self._turn
        offer = turn.offer.narrowed(turn.callable)
        running = run_all(self._call, offer, calls, self._limits, turn.seconds_for_tools, turn.note)
        async with aclosing(running) as results:
            async for each in results:
                yield each

    async def _next(self, *, stream: bool) -> None:
        self._turn.release()
        if (over := self._turn.over()) is not None:
            await self._rounds.over(*over, stream=stream)


_NOT_MERGED = ("role", "function_call", "audio")


def _joined(logprobs: Fields, reply: Reply) -> Fields:
    """The log probabilities of the rounds so far, with those of another one appended."""
    added = reply.choices[0].logprobs if reply.choices else None
    more = to_fields(added) if added is not None else {}
    lists = {name: [*(logprobs.get(name) or ()), *value] for name, value in more.items() if isinstance(value, list)}
    return {**logprobs, **lists}


def _content_of(reply: Reply) -> RoundReply:
    """The content of a whole reply, as from a stream."""
    round_reply = RoundReply()
    choice = reply.choices[0] if reply.choices else None
    if choice is None:
        return round_reply
    round_reply.finish = choice.finish_reason
    message: Fields = to_fields(choice.message)
    for index, call in enumerate(message.pop("tool_calls", ())):
        if call.get("type") == "custom":
            round_reply.custom = True
        else:
            round_reply.add_call({**call, "index": index})
    round_reply.add(message)
    return round_reply


def _size(piece: Fields) -> int:
    """An estimate of the kept bytes of a piece of a stream."""
    size = 0
    for value in piece.values():
        if isinstance(value, str):
            size += len(value) + _A_PIECE
        elif isinstance(value, dict):
            size += _size(value)
        elif isinstance(value, list):
            size += sum(_size(each) for each in value if isinstance(each, dict)) + _A_PIECE
    return size


def _name_of(call: Fields) -> str:
    return str((call.get("function") or {}).get("name") or "")


def _finish(reason: str, merged: RoundReply, *, is_calling: bool) -> str:
    """The finish reason of the whole: `length` if the model would call further gateway-run tools."""
    if is_calling or merged.custom:
        return "tool_calls"
    return "length" if reason == "tool_calls" else reason
