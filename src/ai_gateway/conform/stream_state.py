"""The state machine for streams of chunks: its output is a legal stream or an error for any input.

Legal: one id, model and time; the role in a choice's first delta; a tool call's id, type and name when it is first
mentioned and never again; one finish reason a choice and nothing after it; usage last, in a chunk of its own, and only
if it was requested. A stream that ends while a choice is unfinished is truncated, and says so.

Legal chunks pass unchanged. An illegal one is changed in a copy, so that its original bytes are not relayed.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any

from pydantic import MISSING

from ai_gateway.conform import rules
from ai_gateway.conform.choice_state import ChoiceState
from ai_gateway.conform.chunks import (
    AnyChoice,
    AnyChunk,
    check_empty,
    choice_of,
    content_of,
    going_on,
    is_empty,
    is_headed_by,
    says_anything,
)
from ai_gateway.conform.known_chunks import Facts
from ai_gateway.conform.rules import Report
from ai_gateway.conform.tool_calls import ToolCalls
from ai_gateway.contract.stream import Item, Last
from ai_gateway.errors import UpstreamInvalidResponse, UpstreamStreamTruncated
from gateway_contract.openai import models

_MAX_HEADLESS = 100  # chunks without choices that are kept until the first with one, of which there may be many


@dataclass(slots=True, eq=False)
class _Held[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)]:
    """A held chunk with finish reasons: its choices that were not resumed, and its further fields."""

    item: Item[Chunk]
    choices: dict[int, AnyChoice]
    more: dict[str, Any] = field(default_factory=dict)
    is_changed: bool = False

    def sent(self) -> Item[Chunk]:
        """The chunk to send."""
        if not self.is_changed and not self.more:
            return self.item
        return Item(self.item.model.model_copy(update={**self.more, "choices": list(self.choices.values())}))


class StreamState[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)]:
    """The state of one stream. `report` is called with each applied rule.

    `terminated` is set once the provider has sent the terminator, also with fewer choices than requested. `usage` is
    the upstream's, whether the caller requested it or not. Missing ids are made from `request_id`; `cost` gives the
    stream's cost, for a caller who requested it. `content_fields` has the fields with content of each choice. Without
    `shows_null`, a null usage in chunks is ignored, since the caller's wire does not have it.

    A chunk with a finish reason is held back until the stream ends or its usage arrives: some upstreams set one in
    every chunk. `is_last` says that the last taken chunk is such a one, to be passed to `hold`.
    """

    def __init__(  # noqa: PLR0913 - by name, and most have a default
        self,
        choices: int,
        *,
        include_usage: bool,
        shows_null: bool = True,
        report: Report,
        request_id: str = "",
        cost: Callable[[], int | None] | None = None,
        content_fields: dict[int, set[str]] | None = None,
    ) -> None:
        self.terminated = False
        self.is_last = False
        self.usage: models.CompletionUsage | None = None
        self._known = choices
        self._include_usage = include_usage
        self._shows_null = shows_null
        self._report = report
        self._request_id = request_id
        self._cost = cost
        self._content_fields = {} if content_fields is None else content_fields
        self._head: Chunk | None = None
        self._choices: dict[int, ChoiceState] = {}
        self._headless: deque[Chunk] = deque(maxlen=_MAX_HEADLESS)
        self._early: list[Item[Chunk]] = []
        self._held: dict[int, _Held[Chunk]] = {}  # by the index of each finished choice
        self._closed = 0
        self._counted: Item[Chunk] | None = None
        self._only = 0  # the upstream's index of a stream's only choice, if not 0

    def early(self) -> list[Item[Chunk]]:
        """The items to send before the last taken chunk."""
        early, self._early = self._early, []
        return early

    def hold(self, item: Item[Chunk]) -> None:
        """Hold the last taken chunk, which finishes its choices, until the stream ends or they continue."""
        held = _Held(item, {choice.index: choice for choice in item.model.choices})
        self._held.update(dict.fromkeys(held.choices, held))

    def take(self, chunk: Chunk, raw: bytes | None = None) -> Chunk | None:
        """The chunk to send for a chunk, after `early`: itself, a repaired copy, or None."""
        self.is_last = False
        if self._goes_on(chunk):
            return chunk
        if self._head is None and not chunk.choices and not isinstance(chunk.usage, models.CompletionUsage):
            self._headless.append(chunk)
            return None
        stable = self._stable(chunk)
        if isinstance(chunk.usage, models.CompletionUsage):
            self.usage = chunk.usage
            self._counted = None if chunk.choices else Item(stable, raw if stable is chunk else None)
            if not chunk.choices:
                self._close_choices()
                return None
        legal = self._legal_choices(stable)
        if chunk.choices and not legal.choices:  # no legal choice is left, perhaps further fields
            self._add_rest_of(stable)
            return None
        if self._include_usage and isinstance(chunk.usage, models.CompletionUsage):
            self._report(rules.MOVE_USAGE)
        return self._without_usage(legal)

    def take_known(self, chunk: Chunk, facts: Facts) -> bool:
        """Take a chunk if it passes unchanged, which these facts show sooner than `take` does."""
        head, state = self._head, self._choices.get(facts.index)
        if self._only or (self._shows_null and facts.is_null is not self._include_usage):
            return False
        if head is None:
            if self._headless or not facts.opens or facts.reason is not None or not 0 <= facts.index < self._known:
                return False
            self._head = chunk
            state = self._new_choice(facts.index)
        elif state is None or state.finished or state.calls or self._early or not is_headed_by(chunk, head):
            return False
        state.begun = True
        state.content_fields |= facts.content_fields
        self.is_last = state.finished = facts.reason is not None
        state.reason = facts.reason or state.reason
        return True

    def relayed(self, choice: int, call: int, arguments: str) -> None:
        """Note arguments of a tool call that were relayed as continuations."""
        self._choices[choice].calls.relayed(call, arguments)

    def _goes_on(self, chunk: Chunk) -> bool:
        """Whether the chunk only continues the text of a started choice, as nearly all do."""
        head = self._head
        if head is None or isinstance(chunk.usage, models.CompletionUsage) or len(chunk.choices) != 1:
            return False
        if self._shows_null and self._include_usage is not ("usage" in chunk.model_fields_set):
            return False
        choice = chunk.choices[0]
        state = self._choices.get(choice.index)
        if state is None or state.finished or choice.finish_reason is not None:
            return False
        if isinstance(choice, models.CreateChatCompletionStreamResponseChoice):
            delta = choice.delta
            if delta.tool_calls is not MISSING or delta.function_call is not MISSING:
                return False
            if not state.content_fields.issuperset(delta.model_fields_set):
                state.note(delta, delta.model_fields_set)
        return is_headed_by(chunk, head)

    def _new_choice(self, index: int) -> ChoiceState:
        calls = ToolCalls(self._report, self._request_id, index)
        state = self._choices[index] = ChoiceState(calls, self._content_fields.setdefault(index, set()))
        return state

    def end(self, beside: models.CompletionUsage | None = None) -> Iterator[Item[Chunk]]:
        """The last chunks: finish reasons, and the usage if it was requested and received.

        `beside` is a usage that was received elsewhere, for a stream without one in its own place. Raises
        UpstreamStreamTruncated.
        """
        head, states = self._head, self._choices.values()
        whole = bool(states) and (self.terminated or (len(states) == self._known and all(s.finished for s in states)))
        if head is None or not whole:
            yield from self.unfinished()
            raise UpstreamStreamTruncated.ended()
        self._close_choices()
        for index, state in self._choices.items():
            if not state.closed:
                self._report(rules.FILL_FINISH_REASON)
                state.end_calls()
                self._early.append(Item(self._made(head, [_end_of(head, index, state)])))
        is_beside, self.usage = self.usage is None, self.usage or beside
        early = self.early()
        if self.usage is None or not self._include_usage:
            yield from early[:-1]
            yield from map(Last._make, early[-1:])
            return
        yield from early
        if is_beside:
            self._report(rules.MOVE_USAGE)
        counted = self._counted or Item(self._made(head, []).model_copy(update={"usage": self.usage}))
        cost = self._cost() if self._cost is not None else None
        if cost is not None:  # division of integers is correctly rounded, so the float prints with no surplus digits
            usage = self.usage.model_copy(update={"cost": cost / 10**12})
            counted = Item(counted.model.model_copy(update={"usage": usage}))
        yield Last._make(counted)

    def unfinished(self) -> Iterator[Item[Chunk]]:
        """The held chunks of a stream that fails, without their finish reasons, which are wrong then."""
        for held in self._released():
            if choices := [going_on(choice) for choice in held.choices.values() if says_anything(choice)]:
                yield Item(held.item.model.model_copy(update={**held.more, "choices": choices}))

    def _close_choices(self) -> None:
        """Release the held finish reasons, if every choice has one."""
        if not self._held or not (self.terminated or len(self._held) + self._closed == len(self._choices)):
            return
        for state in self._choices.values():
            if state.finished and not state.closed:
                state.closed = True
                self._closed += 1
                state.end_calls()
        if self._counted is not None and not self._include_usage:
            self._add_rest_of(self._counted.model)
        self._early += [held.sent() for held in self._released()]

    def _released(self) -> list[_Held[Chunk]]:
        """Every held chunk, in the order of arrival."""
        held, self._held = dict.fromkeys(self._held.values()), {}
        return list(held)

    def _add_rest_of(self, counted: Chunk) -> None:
        """Add the further fields of a hidden usage chunk to the last chunk, where they would be without it.

        llama.cpp's server, for example, sends `timings` with the last chunk, whichever that is.
        """
        if not self._held:
            return
        last = next(reversed(self._held.values()))
        present = last.item.model.model_extra or {}
        for name, value in self._news(counted).items():
            if name not in present:
                last.more.setdefault(name, value)

    def _made(self, head: Chunk, choices: Sequence[Mapping[str, object]]) -> Chunk:
        """A chunk made by the gateway."""
        fields = {"id": head.id, "object": head.object, "created": head.created, "model": head.model}
        usage = {"usage": None} if self._include_usage else {}
        return type(head).model_validate({**fields, **usage, "choices": choices})

    def _stable(self, chunk: Chunk) -> Chunk:
        head = self._head
        if head is None:
            if not chunk.id:
                self._report(rules.FILL_ID)
                chunk = chunk.model_copy(update={"id": f"chatcmpl-{self._request_id}"})
            self._head = chunk
            self._early += [Item(self._without_usage(self._stable(early))) for early in self._headless]
            return chunk
        if is_headed_by(chunk, head):
            return chunk
        if chunk.id:  # all are without one, where the first one is
            self._report(rules.KEEP_HEAD)
        return chunk.model_copy(update={"id": head.id, "model": head.model, "created": head.created})

    def _without_usage(self, chunk: Chunk) -> Chunk:
        if not self._shows_null and not isinstance(chunk.usage, models.CompletionUsage):
            return chunk
        if self._include_usage:
            if chunk.usage is None and "usage" in chunk.model_fields_set:
                return chunk
            return chunk.model_copy(update={"usage": None})  # with include_usage, null until the last chunk
        if "usage" not in chunk.model_fields_set:
            return chunk
        bare = chunk.model_copy(update={"usage": None})
        bare.model_fields_set.discard("usage")
        return bare

    def _legal_choices(self, chunk: Chunk) -> Chunk:
        if self._known == 1 and len(chunk.choices) == 1 and not self._choices:
            self._only = chunk.choices[0].index
        found = [self._legal_choice(choice) for choice in chunk.choices]
        legal = [choice for choice in found if choice is not None]
        ending = [choice for choice in legal if choice.finish_reason is not None]
        self.is_last = bool(ending) and len(ending) == len(legal)
        if ending and not self.is_last:
            self.hold(Item(self._without_usage(chunk.model_copy(update={"choices": ending}))))
            legal = [choice for choice in legal if choice.finish_reason is None]
        if len(legal) == len(chunk.choices) and all(map(is_, legal, chunk.choices)):
            return chunk
        return chunk.model_copy(update={"choices": legal})

    def _legal_choice[
        Choice: (
            models.CreateChatCompletionStreamResponseChoice,
            models.CreateCompletionStreamResponseChoice,
        )
    ](self, choice: Choice) -> Choice | None:
        if self._only and choice.index == self._only:
            self._report(rules.NUMBER_CHOICES)
            choice = choice.model_copy(update={"index": 0})
        elif self._only or not 0 <= choice.index < self._known:
            check_empty(choice, "sent a choice that was not requested")
            self._report(rules.DROP_UNKNOWN_CHOICE)
            return None
        state = self._choices.get(choice.index)
        if state is None:
            state = self._new_choice(choice.index)
        if state.finished:
            self._report(rules.FINISH_ONCE)
            if not content_of(choice):
                return self._beside_end(choice, state)
            self._resume(choice.index)
        if isinstance(choice, models.CreateChatCompletionStreamResponseChoice):
            choice = self._legal_delta(choice, state)
        state.begun = True
        state.finished = choice.finish_reason is not None
        state.reason = choice.finish_reason or state.reason
        return choice

    def _beside_end[
        Choice: (
            models.CreateChatCompletionStreamResponseChoice,
            models.CreateCompletionStreamResponseChoice,
        )
    ](self, choice: Choice, state: ChoiceState) -> Choice | None:
        """The rest of a choice without content after its finish reason: its further fields."""
        held = self._held.get(choice.index)
        if held is not None and state.reason == "stop" and choice.finish_reason is not None:
            state.reason = choice.finish_reason
            ended = held.choices[choice.index].model_copy(update={"finish_reason": choice.finish_reason})
            held.choices[choice.index], held.is_changed = ended, True
        return None if is_empty(choice) or held is None else choice.model_copy(update={"finish_reason": None})

    def _resume(self, index: int) -> None:
        """A choice continues after its finish reason: its held chunk is sent without the reason."""
        held = self._held.pop(index, None)
        if held is None:  # already sent, or in the same chunk
            raise UpstreamInvalidResponse("The provider went on with a choice after its end.")
        mine, held.is_changed = held.choices.pop(index), True
        more, held.more = held.more, {}
        if says_anything(mine) or more or self._news(held.item.model):
            self._early.append(Item(held.item.model.model_copy(update={**more, "choices": [going_on(mine)]})))

    def _news(self, chunk: Chunk) -> dict[str, Any]:
        """The fields of a chunk beyond the contract that the stream's first chunk does not have."""
        known = (self._head.model_extra or {}).keys() if self._head is not None else ()
        return {name: value for name, value in (chunk.model_extra or {}).items() if name not in known and value}

    def _legal_delta(
        self, choice: models.CreateChatCompletionStreamResponseChoice, state: ChoiceState
    ) -> models.CreateChatCompletionStreamResponseChoice:
        delta = choice.delta
        state.note(delta, delta.model_fields_set)
        if not state.begun and delta.role is MISSING:
            self._report(rules.FILL_ROLE)
            delta = delta.model_copy(update={"role": "assistant"})
        if delta.tool_calls is not MISSING:
            calls = [state.calls.take(call) for call in delta.tool_calls]
            if any(new is not old for new, old in zip(calls, delta.tool_calls, strict=True)):
                delta = delta.model_copy(update={"tool_calls": [call for call in calls if call is not None]})
        delta = state.take_function(delta, self._report)
        if delta is not choice.delta:
            choice = choice.model_copy(update={"delta": delta})
        if choice.finish_reason == "stop" and state.calls:
            self._report(rules.FINISH_WITH_CALLS)
            choice = choice.model_copy(update={"finish_reason": "tool_calls"})
        return choice


def _end_of(head: AnyChunk, index: int, state: ChoiceState) -> dict[str, object]:
    """The final chunk of a choice without a finish reason in its last chunk."""
    reason = "tool_calls" if state.calls and state.reason in {None, "stop"} else state.reason or "stop"
    return {**choice_of(head, index), "finish_reason": reason}
