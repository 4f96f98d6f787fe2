"""One state machine for every stream: whatever the provider sends, what leaves is a legal stream or an error.

Legal: one id, model and time; the role in a choice's first delta; a tool call's id, type and name when it is first
mentioned and never again; one finish reason a choice and nothing after it; usage last, in a chunk of its own, and only
if it was asked for. A stream that ends while a choice is unfinished is truncated, and says so.

Chunks that are legal already pass through as they are. A chunk that is not is changed in a copy, so that nobody takes
the bytes it came in for its own.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pydantic import MISSING

from ai_gateway.conform import rules
from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations, hidden_usage
from ai_gateway.conform.rules import Report
from ai_gateway.conform.tool_calls import ToolCalls
from ai_gateway.contract.stream import DONE, Arrived, Item, Packet, Received, Verbatim
from ai_gateway.errors import UpstreamInvalidResponse, UpstreamStreamTruncated
from gateway_contract.openai import models

ChatChunk = models.CreateChatCompletionStreamResponse
CompletionChunk = models.CreateCompletionStreamResponse
# Chunks without choices that are kept until the first with one; whatever the hundredth says, it is no answer.
_MOST_EARLY = 100
type _Choice = models.CreateChatCompletionStreamResponseChoice | models.CreateCompletionStreamResponseChoice


@dataclass(slots=True)
class ChoiceState:
    """What one choice has said so far."""

    calls: ToolCalls
    begun: bool = False
    finished: bool = False


class StreamState[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)]:
    """What a stream has said so far. `report` is called with each rule that had to be applied.

    `terminated` is set once the provider has declared the stream to be over, which it may do with fewer choices than
    were requested. `usage` is what it has counted, whether the caller wants it or not. `request_id` is what made-up
    ids are made from.
    """

    def __init__(self, choices: int, *, include_usage: bool, report: Report, request_id: str = "") -> None:
        self.terminated = False
        self.usage: models.CompletionUsage | None = None
        self._known = choices
        self._include_usage = include_usage
        self._report = report
        self._request_id = request_id
        self._head: Chunk | None = None
        self._choices: dict[int, ChoiceState] = {}
        self._early: list[Chunk] = []

    def early(self) -> list[Chunk]:
        """Chunks without choices that came before the first with one, now that the stream's head is known."""
        if not self._early or self._head is None:
            return []
        early, self._early = self._early, []
        return [self._without_usage(self._stable(chunk)) for chunk in early]

    def take(self, chunk: Chunk) -> Chunk | None:
        """What to send for a chunk: itself, a repaired copy, or nothing."""
        if self._goes_on(chunk):
            return chunk
        if self._head is None and not chunk.choices and not isinstance(chunk.usage, models.CompletionUsage):
            if len(self._early) < _MOST_EARLY:
                self._early.append(chunk)
            return None
        chunk = self._stable(chunk)
        had_choices = bool(chunk.choices)
        chunk = self._legal_choices(chunk)
        usage = chunk.usage
        if isinstance(usage, models.CompletionUsage):
            self.usage = usage
            if not chunk.choices:
                return None
            if self._include_usage:
                self._report(rules.MOVE_USAGE)
        elif not chunk.choices and had_choices:
            return None  # nothing legal was left of it
        return self._without_usage(chunk)

    def relayed(self, choice: int, call: int, arguments: str) -> None:
        """Arguments of a tool call that went by as continuations, which are sent on without being taken."""
        self._choices[choice].calls.relayed(call, arguments)

    def _goes_on(self, chunk: Chunk) -> bool:
        """Whether it only continues the text of a choice that has begun, as nearly all chunks do."""
        head = self._head
        if head is None or isinstance(chunk.usage, models.CompletionUsage) or len(chunk.choices) != 1:
            return False
        if self._include_usage is not ("usage" in chunk.model_fields_set):
            return False
        choice = chunk.choices[0]
        state = self._choices.get(choice.index)
        if state is None or state.finished or choice.finish_reason is not None:
            return False
        if isinstance(choice, models.CreateChatCompletionStreamResponseChoice):  # noqa: SIM102 - mypy, of both kinds
            if choice.delta.tool_calls is not MISSING:
                return False
        return chunk.id == head.id and chunk.model == head.model and chunk.created == head.created

    def end(self) -> Chunk | None:
        """The last chunk, if usage was asked for and came. Raises UpstreamStreamTruncated."""
        whole = len(self._choices) == self._known or (self.terminated and self._choices)
        if not whole or not all(choice.finished for choice in self._choices.values()):
            raise UpstreamStreamTruncated.ended()
        if self.usage is None or not self._include_usage or self._head is None:
            return None
        return self._head.model_copy(update={"choices": [], "usage": self.usage})

    def _stable(self, chunk: Chunk) -> Chunk:
        head = self._head
        if head is None:
            self._head = chunk
            return chunk
        if chunk.id == head.id and chunk.model == head.model and chunk.created == head.created:
            return chunk
        self._report(rules.KEEP_HEAD)
        return chunk.model_copy(update={"id": head.id, "model": head.model, "created": head.created})

    def _without_usage(self, chunk: Chunk) -> Chunk:
        if self._include_usage:
            if chunk.usage is None and "usage" in chunk.model_fields_set:
                return chunk
            return chunk.model_copy(update={"usage": None})  # null until the last chunk, where it was asked for
        if "usage" not in chunk.model_fields_set:
            return chunk
        bare = chunk.model_copy(update={"usage": None})
        bare.model_fields_set.discard("usage")
        return bare

    def _legal_choices(self, chunk: Chunk) -> Chunk:
        legal = [self._legal_choice(choice) for choice in chunk.choices]
        if all(new is old for new, old in zip(legal, chunk.choices, strict=True)):
            return chunk
        return chunk.model_copy(update={"choices": [choice for choice in legal if choice is not None]})

    def _legal_choice[
        Choice: (
            models.CreateChatCompletionStreamResponseChoice,
            models.CreateCompletionStreamResponseChoice,
        )
    ](self, choice: Choice) -> Choice | None:
        if not 0 <= choice.index < self._known:
            _check_empty(choice, "sent a choice that was not requested")
            self._report(rules.DROP_UNKNOWN_CHOICE)
            return None
        state = self._choices.get(choice.index)
        if state is None:
            calls = ToolCalls(self._report, self._request_id, choice.index)
            state = self._choices[choice.index] = ChoiceState(calls)
        if state.finished:
            _check_empty(choice, "went on with a choice after its end")
            self._report(rules.FINISH_ONCE)
            return None
        if isinstance(choice, models.CreateChatCompletionStreamResponseChoice):
            choice = self._legal_delta(choice, state)
        state.begun = True
        state.finished = choice.finish_reason is not None
        return choice

    def _legal_delta(
        self, choice: models.CreateChatCompletionStreamResponseChoice, state: ChoiceState
    ) -> models.CreateChatCompletionStreamResponseChoice:
        delta = choice.delta
        if not state.begun and delta.role is MISSING:
            self._report(rules.FILL_ROLE)
            delta = delta.model_copy(update={"role": "assistant"})
        if delta.tool_calls is not MISSING:
            calls = [state.calls.take(call) for call in delta.tool_calls]
            if any(new is not old for new, old in zip(calls, delta.tool_calls, strict=True)):
                delta = delta.model_copy(update={"tool_calls": [call for call in calls if call is not None]})
        if choice.finish_reason is not None:
            state.calls.end()
        if delta is not choice.delta:
            choice = choice.model_copy(update={"delta": delta})
        if choice.finish_reason == "stop" and state.calls:
            self._report(rules.FINISH_WITH_CALLS)
            choice = choice.model_copy(update={"finish_reason": "tool_calls"})
        return choice


def _check_empty(choice: _Choice, problem: str) -> None:
    """Raise UpstreamInvalidResponse if leaving the choice out would lose content."""
    if isinstance(choice, models.CreateCompletionStreamResponseChoice):
        content: object = choice.text
    else:
        fields = choice.delta.model_dump(exclude_unset=True, exclude={"role"})
        content = [value for value in fields.values() if value]
    if content:
        raise UpstreamInvalidResponse(f"The provider {problem}.")


async def conform_stream[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    arrived: AsyncGenerator[Arrived[Chunk]],
    model: type[Chunk],
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None = None,
) -> AsyncGenerator[Item[Chunk] | Verbatim]:
    """The legal stream. Failures of the provider pass through; one that ends too soon is UpstreamStreamTruncated.

    Where the provider is only observed, every chunk is relayed as it came, and what would have been changed is
    reported. With `continuations`, for a caller of the same wire, chunks that only continue a text go out as bytes.
    """
    async with aclosing(arrived):
        async for piece in arrived:
            if piece is DONE:
                state.terminated = True
                continue
            if conformer.observes:
                legal = _observed(piece.events if isinstance(piece, Packet) else (piece,), model, state, conformer)
            elif isinstance(piece, Packet):
                legal = _relayed(piece.events, model, state, conformer, continuations)
            else:
                legal = _legal(conformer.item(model, piece), state, None)
            for item in legal:
                yield item
        conformer.note_usage(state.usage)
        last = state.end()
        if last is not None and not conformer.observes:
            yield Item(last)


def _relayed[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    events: Sequence[bytes],
    model: type[Chunk],
    state: StreamState[Chunk],
    conformer: Conformer,
    continuations: Continuations | None,
) -> Iterator[Item[Chunk] | Verbatim]:
    """What to send for events that arrived together; those that only continue a text are not even parsed."""
    at = 0
    while at < len(events):
        end = continuations.match(events, at) if continuations is not None else at
        if continuations is None or end == at:
            yield from _legal(conformer.item(model, events[at]), state, continuations)
            at += 1
            continue
        continuations.relayed()
        cut, run = continuations.cut, events[at:end]
        yield Verbatim([event.replace(cut, b"", 1) for event in run] if cut else run)
        at = end


def _legal[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    item: Item[Chunk], state: StreamState[Chunk], continuations: Continuations | None
) -> Iterator[Item[Chunk] | Verbatim]:
    """What to send for a chunk, behind what had to wait for it."""
    chunk, raw = item
    for choice, call, arguments in continuations.drain() if continuations is not None else ():
        state.relayed(choice, call, arguments)
    sent = state.take(chunk)
    for early in state.early():
        yield Item(early)
    if sent is None:
        return
    cut = hidden_usage(chunk, sent, raw) if continuations is not None and sent is not chunk and raw else b""
    if continuations is not None:
        continuations.update(chunk, chunk if cut else sent, raw, cut)
    if cut and raw is not None:
        raw = raw.replace(cut, b"", 1)
    yield Item(sent, raw if cut or sent is chunk else None)


def _observed[Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    received: Sequence[Received[Chunk]], model: type[Chunk], state: StreamState[Chunk], conformer: Conformer
) -> Iterator[Item[Chunk] | Verbatim]:
    """Every chunk as it came, once it is reported what would be done to it."""
    for each in received:
        item = conformer.item(model, each)
        try:
            state.take(item.model)
            state.early()
        except UpstreamInvalidResponse:
            conformer.report(rules.UNREPAIRABLE)
        yield item


def prompt_count(body: models.CreateCompletionRequest) -> int:
    """How many prompts a request holds: a text or a list of tokens is one."""
    prompt = body.prompt
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
