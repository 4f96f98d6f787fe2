"""The state of a tool loop between rounds: texts, calls and usage so far."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from ai_gateway.contract.call import Call
from ai_gateway.contract.rounds import Round, ToolRun
from ai_gateway.contract.write import to_fields, to_json
from ai_gateway.tools.citations import Cited, annotations, renumbered, shifted
from ai_gateway.tools.history import Called, as_models, replayed, round_messages
from ai_gateway.tools.offer import PREFIX, Choice, Offer, Offered, first_choice, later_choice, offered_tools
from ai_gateway.tools.run import Limits, Ran
from ai_gateway.tools.tool import Result
from ai_gateway.translate.chat_request import Message
from gateway_contract.openai import models

type Fields = dict[str, Any]
type Body = models.CreateChatCompletionRequest

# The share of the time that is reserved for the last answer.
_FOR_THE_LAST = 0.25
# Fields that OpenAI refuses without tools: github.com/camel-ai/camel/pull/3706
_ABOUT_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")


class RoundReply:
    """The reply of one round: message, calls and finish reason.

    Texts are joined on demand: appending each piece would take quadratic time.
    """

    def __init__(self) -> None:
        self.custom = False
        self.finish: str | None = None
        self._fields: Fields = {}
        self._pieces: dict[str, list[str]] = {}
        self._calls: dict[int, Called] = {}
        self._arguments: dict[int, list[str]] = {}

    @property
    def fields(self) -> Fields:
        """The message without its calls."""
        return {**self._fields, **{name: "".join(pieces) for name, pieces in self._pieces.items()}}

    @property
    def calls(self) -> dict[int, Called]:
        """The calls by their index."""
        for index, pieces in self._arguments.items():
            self._calls[index].arguments = "".join(pieces)
        return self._calls

    def add(self, delta: Mapping[str, Any]) -> None:
        """A piece of the message, without its calls."""
        for name, value in delta.items():
            if isinstance(value, str) and name != "role":
                self._fields.pop(name, None)
                self._pieces.setdefault(name, []).append(value)
            elif isinstance(value, list) and isinstance(self._fields.get(name), list):
                self._fields[name].extend(value)
            elif value is not None or name not in self._fields.keys() | self._pieces.keys():
                self._pieces.pop(name, None)
                self._fields[name] = list(value) if isinstance(value, list) else value

    def forget(self, places: Iterable[int]) -> None:
        """Remove the calls with these indices."""
        for place in places:
            del self._calls[place], self._arguments[place]

    def add_call(self, piece: Mapping[str, Any]) -> Called:
        """A piece of a call, at its index. Its arguments are joined by `calls`."""
        function, index = piece.get("function") or {}, piece["index"]
        called = self._calls.get(index)
        if called is None:
            called = self._calls[index] = Called("", "", "")
        called.id = piece.get("id") or called.id
        called.name += function.get("name") or ""
        self._arguments.setdefault(index, []).append(function.get("arguments") or "")
        return called


class Turn:
    """Makes the rounds' requests, and collects their results. `call` is the caller's, with the last round's notes."""

    def __init__(self, call: Call, body: Body, offer: Offer, limits: Limits, seconds: float) -> None:
        self.call = call
        self.offer = offer
        self.limits = limits
        self.number = 0
        self.is_last = False
        self.callable: Collection[str] = ()  # callable functions of the gateway in this round
        self.ran: list[tuple[Called, Result]] = []
        self.cited: list[Cited] = []
        self._texts: list[str] = []
        self._noted: list[Fields] = []
        self._text_length = 0  # characters of text in all rounds
        self._before = 0  # characters of text before this round
        self.usage: Fields = {}
        self.deadline = time.monotonic() + seconds
        self._kept_s = seconds * _FOR_THE_LAST
        self._body = body
        self._client_names = _names_of(body)
        self._ids: set[str] = set()
        self._uses: Counter[str] = Counter()
        self._earlier_attempts = list(call.attempts)
        self._round: Call | None = None
        self._started = 0.0
        self._spent: int | None = 0
        self._added = 0
        self._messages: list[Message] = []
        for message in body.messages:
            is_replayed = bool(getattr(message, "gateway_tool_calls", None))
            self._messages += as_models(replayed([to_fields(message)])) if is_replayed else [message]
        messages = call.parsed.get("messages") if call.parsed is not None and call.wire.name == "openai" else None
        self._parsed: list[Any] | None = messages if isinstance(messages, list) else None
        if self._parsed is not None and len(self._messages) != len(body.messages):
            self._parsed = replayed(self._parsed)

    # -- the next round --

    @property
    def seconds_for_tools(self) -> float:
        """The time for tools that leaves time for an answer."""
        return max(0.1, self.deadline - self._kept_s - time.monotonic())

    def begin(self) -> tuple[Call, Body]:
        """The call and the body of the next round."""
        self.number += 1
        self._before = self._text_length
        left = self.deadline - time.monotonic()
        calls = self._calls_left()
        self.is_last = self.number > self.limits.rounds or (self.number > 1 and left < self._kept_s) or not calls
        is_later = self.number > 1 or (not calls and isinstance(self._body.tool_choice, models.GatewayToolChoice))
        choice = (later_choice if is_later else first_choice)(self._body, self.offer)
        if self.is_last:
            choice = Choice(choice.value, (), ())
        self.callable = choice.callable
        body, parsed = self._request(choice)
        self._round = replace(
            self.call,
            attempts=[],
            at_end=[],
            reservation=None,
            sink=None,
            native=None,
            bridge=None,
            parsed=parsed,
            written=None,
            size=self.call.size + self._added,
            round=Round(self.number, 0 if self.is_last else self.offer.highest_price * calls, self._spent),
            rounds=(),
        )
        self._started = time.perf_counter()
        return self._round, body

    def _calls_left(self) -> int:
        """The number of gateway-run calls allowed in the next round."""
        in_all, at_once = self.limits.in_all, self.limits.calls
        return at_once if in_all is None else max(0, min(at_once, in_all - len(self.ran)))

    def _request(self, choice: Choice) -> tuple[Body, Mapping[str, object] | None]:
        changes: Fields = {"messages": self._messages}
        tools = offered_tools([to_fields(tool) for tool in self._body.tools or ()], self.offer, choice.names)
        if tools:
            changes |= {"tools": tools}
            if choice.value is not None:
                changes |= {"tool_choice": choice.value}
        if self._body.stream and (self._body.n or 1) == 1:
            options = to_fields(self._body.stream_options) if self._body.stream_options is not None else {}
            changes |= {"stream_options": {**options, "include_usage": True}}
        unset = {name for name in _ABOUT_TOOLS if name not in changes and (not tools or name == "tool_choice")}
        body = _changed(self._body, changes, unset)
        parsed = self.call.parsed
        if self._parsed is None or parsed is None:
            return body, parsed
        known = {name: value for name, value in parsed.items() if name not in unset}
        sent = parsed.get("tools")
        if kept := offered_tools(sent if isinstance(sent, list) else (), self.offer, choice.names):
            known["tools"] = kept
        else:
            known.pop("tools", None)
        if "tool_choice" in changes:
            known["tool_choice"] = changes["tool_choice"]
        if "stream_options" in changes:
            known["stream_options"] = changes["stream_options"]
        return body, {**known, "messages": self._parsed}

    def show(self) -> None:
        """Copy the current round's attempts and reservation to the caller's call."""
        if self._round is None:
            return
        self.call.attempts[:] = [*self._earlier_attempts, *self._round.attempts]
        self.call.reservation = self._round.reservation

    def release(self) -> None:
        """Release the round's places at its provider."""
        if self._round is not None:
            for callback in self._round.at_end:
                callback()
            self._round.at_end.clear()

    def over(self) -> tuple[Call, float] | None:
        """The finished round, and when it began; the caller's call no longer settles it."""
        if self._round is None:
            return None
        over, self._round = self._round, None
        self._earlier_attempts += over.attempts
        cost = over.reservation.cost() if over.reservation is not None else None
        self._spent = cost  # includes earlier rounds
        self.call.reservation = None
        self.call.rounds = (*self.call.rounds, over)
        return over, self._started

    # -- the model's reply --

    def add_message(self, message: Fields, *, at_once: bool = False) -> None:
        """Add a message of this round, or a piece of one. Its annotations are removed, to be sent at the end.

        OpenAI's client merges lists by an index, which annotations lack, so a stream has them in one delta. With
        `at_once` they stay in it, with positions in the text of all rounds.
        """
        if isinstance(text := message.get("content"), str):
            self._texts.append(text)
            self._text_length += len(text)
        notes = shifted(_listed(message.pop("annotations", None)), self._before)
        if notes and at_once:
            message["annotations"] = notes
        else:
            self._noted += notes

    def is_gateway_function(self, name: str) -> bool:
        """Whether a function is the gateway's: on offer, or invented with the reserved prefix."""
        return name in self.offer.functions or (name.startswith(PREFIX) and name not in self._client_names)

    def calls_of(self, reply: RoundReply) -> list[Called]:
        """The gateway-run calls, each with a unique id. Those beyond the caller's limit are ignored."""
        if self.limits.in_all is not None and not self.is_last:
            places = [place for place, called in reply.calls.items() if self.is_gateway_function(called.name)]
            reply.forget(places[self.limits.in_all - len(self.ran) :])
        ours = [called for called in reply.calls.values() if self.is_gateway_function(called.name)]
        for called in ours:
            offered = self.offer.functions.get(called.name)
            called.tool, called.round = offered.tool if offered is not None else "", self.number
            called.position = self._text_length
            if not called.id or called.id in self._ids:
                called.id = f"call_{self.call.request_id[-16:]}_{len(self._ids)}"
            self._ids.add(called.id)
            self._uses[called.name] += 1
            called.is_over_limit = self._is_over_limit(called.name, offered)
        return ours

    def _is_over_limit(self, name: str, offered: Offered | None) -> bool:
        """Whether this call exceeds the request's limit for its function."""
        most = offered.options.get("max_uses") if offered is not None else None
        return isinstance(most, int) and self._uses[name] > most

    def note(self, called: Called, run: ToolRun) -> None:
        """Record the start or end of a call. Its full cost counts from the start."""
        if self._round is not None and self._round.reservation is not None:
            self._round.reservation.ran(called.id, run)

    def take(self, ran: Ran) -> Ran:
        """Take a finished call, with its sources numbered after those of earlier ones."""
        self.note(ran.called, ran.run)
        result = ran.result
        first = len(self.cited)
        self.cited += [Cited(first + at, one) for at, one in enumerate(result.citations, 1)]
        return replace(ran, result=renumbered(result, first)) if first and result.citations else ran

    def add(self, reply: RoundReply, ran: Sequence[Ran]) -> None:
        """The results of a round, in the order of its calls."""
        results = [(each.called, each.result) for each in sorted(ran, key=lambda each: each.place)]
        self.ran += results
        more = round_messages(reply.fields, results)
        self._messages = [*self._messages, *as_models(more)]
        if self._parsed is not None:
            self._parsed = [*self._parsed, *more]
        self._added += sum(len(to_json(message)) for message in self._messages[-len(more) :])

    def add_usage(self, usage: BaseModel) -> None:
        """Add the usage of a round."""
        self.usage = _sum(self.usage, to_fields(usage))

    def annotations(self) -> list[Fields]:
        """The annotations of the provider for the text of all rounds, and the citations of tool results."""
        return [*self._noted, *annotations("".join(self._texts), self.cited)]

    def entries(self) -> list[models.GatewayToolCall]:
        """`gateway_tool_calls` of a whole reply."""
        return [called.entry(index, result) for index, (called, result) in enumerate(self.ran)]


def _listed(value: object) -> list[Fields]:
    """The objects of a list, which in mode `observe` may have any values."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _names_of(body: Body) -> Collection[str]:
    return {tool.function.name for tool in body.tools or () if isinstance(tool, models.ChatCompletionTool)}


def _changed(body: Body, changes: Fields, unset: Collection[str]) -> Body:
    """The body with these fields set, and those unset."""
    copied = body.model_copy()
    fields: Fields = {**changes}
    for name in ("tools", "tool_choice", "stream_options"):
        if name in fields:
            copied.__pydantic_validator__.validate_assignment(copied, name, fields.pop(name), strict=True)
    for name, value in fields.items():
        setattr(copied, name, value)
    for name in unset:
        setattr(copied, name, None)
        copied.model_fields_set.discard(name)
    return copied


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> Fields:
    """The sum of counts at any depth; of other values, the last one."""
    total: Fields = dict(one)
    for name, value in other.items():
        before = total.get(name)
        if isinstance(value, dict):
            total[name] = _sum(before if isinstance(before, dict) else {}, value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and isinstance(before, int | float):
            total[name] = before + value
        else:
            total[name] = value if value is not None else before
    return total
