"""Splits a stream of chat chunks into the parts of one turn: text, refusal, reasoning, tool calls."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from pydantic import MISSING, JsonValue

from ai_gateway.conform.turn import OTHER, REASONING, REFUSAL, TEXT, CallHead, Key, Parts, Turn, inside
from ai_gateway.contract.reasoning import REASONING_NAMES, thought_in
from ai_gateway.contract.stream import Continued
from gateway_contract.openai import models

_ARGUMENTS: Final = "arguments"
_KEYS: Final[Mapping[str, Key]] = {"content": TEXT, "refusal": REFUSAL, **dict.fromkeys(REASONING_NAMES, REASONING)}
_PARTS: Final[Mapping[str, Key]] = {
    "thinking_blocks": REASONING,
    "annotations": TEXT,
    "citations": TEXT,
    "other_blocks": OTHER,
}
# Fields of `reasoning_details` that are streamed in pieces (https://openrouter.ai/docs/use-cases/reasoning-tokens,
# "Streaming Response").
_PIECES: Final = frozenset({"text", "summary", "data"})
_DEPRECATED_CALL = 1_000_000  # stands for the deprecated `function_call`


class ChatTurn:
    """One choice of one stream. The methods return what has to be sent.

    `finish` is the finish reason, once it is known; `usage` and `tier` are the stream's. `end_choice` is the choice
    with the finish reason. `kept` has the joined lists of the delta fields in `keeps`, and `kept_of_calls` further
    fields of each call by its id.
    """

    def __init__(self, parts: Parts, keeps: Collection[str] = ()) -> None:
        self.finish: str | None = None
        self.usage: models.CompletionUsage | None = None
        self.tier: str | None = None
        self.end_choice: models.CreateChatCompletionStreamResponseChoice | None = None
        self.kept: dict[str, list[JsonValue]] = {}
        self.kept_of_calls: dict[str, Mapping[str, JsonValue]] = {}
        self._keeps = keeps
        self._parts = parts
        self._turn = Turn(parts)
        self._previewed = False

    def feed(self, chunk: models.CreateChatCompletionStreamResponse) -> bytes:
        """Process a chunk. Raises UpstreamInvalidResponse for content of a part that has ended."""
        usage = chunk.usage
        if usage and isinstance(usage, models.CompletionUsage):  # slow for anything else
            self.usage = usage
        if isinstance(chunk.service_tier, str):
            self.tier = chunk.service_tier
        written = []
        for choice in chunk.choices:
            if choice.index == 0:
                written.append(self._content(choice))
                if choice.finish_reason is not None:
                    self.finish, self.end_choice = choice.finish_reason, choice
        return b"".join(written)

    def continued(self, run: Continued) -> bytes:
        """The same for continuations of texts."""
        columns = self._columns(run)
        if len(columns) == 1:
            key, texts = columns[0]
            return self._turn.add_text(key, texts)
        width = len(run.names)
        rows = [run.texts[at : at + width] for at in range(0, len(run.texts), width)]
        return b"".join(
            self._turn.add_text(key, texts)
            for row in rows
            for key, texts in self._columns(Continued(run.choice, run.call, run.names, row))
        )

    def preview(self, run: Continued) -> bytes | None:
        """The result of `continued` without an effect until `commit`; None if that needs `feed`."""
        columns = self._columns(run)
        if not columns:
            self._previewed = False
            return b""
        self._previewed = True
        key, texts = columns[0]
        return (self._parts.preview(texts) or None) if len(columns) == 1 and self._turn.is_open(key) else None

    def commit(self) -> None:
        """Apply the last preview, which has been sent."""
        if self._previewed:
            self._parts.commit()

    def end(self) -> bytes:
        """The rest that is still held back."""
        return self._turn.end()

    def _columns(self, run: Continued) -> list[tuple[Key, Sequence[bytes]]]:
        """The texts of each part that are not empty."""
        width = len(run.names)
        columns: list[tuple[Key, Sequence[bytes]]] = []
        for at, name in enumerate(run.names):
            key = run.call if name == _ARGUMENTS else _KEYS.get(name)
            texts = run.texts if width == 1 else run.texts[at::width]
            if key is None or (key == REASONING and any(key == known for known, _ in columns)):
                continue
            if b"" in texts:
                texts = [text for text in texts if text]
            if texts:
                columns.append((key, texts))
        return columns

    def _content(self, choice: models.CreateChatCompletionStreamResponseChoice) -> bytes:
        delta = choice.delta
        extra = delta.__pydantic_extra__
        written = [] if not extra else self._before_text(extra)
        if delta.content:
            written.append(self._text(delta.content, choice))
        if delta.refusal:
            written.append(self._turn.add_text(REFUSAL, (inside(delta.refusal),)))
        if extra:
            written += self._beside(extra, ("annotations", "citations", "other_blocks"))
        written += self._calls(delta)
        return b"".join(written)

    def _before_text(self, extra: Mapping[str, JsonValue]) -> list[bytes]:
        """What extra fields say before a chunk's text."""
        for name in self._keeps:
            if isinstance(more := extra.get(name), list):
                _join(more, self.kept.setdefault(name, []))
        written = []
        if thought := thought_in(extra):
            written.append(self._turn.add_text(REASONING, (inside(thought),)))
        return [*written, *self._beside(extra, ("thinking_blocks",))]

    def _calls(self, delta: models.ChatCompletionStreamResponseDelta) -> Iterable[bytes]:
        if delta.gateway_tool_calls is not MISSING and "gateway_tool_calls" in self._parts.extra_fields:
            ran: list[JsonValue] = [call.model_dump(exclude_unset=True) for call in delta.gateway_tool_calls]
            yield self._turn.beside(OTHER, partial(self._parts.write_field, "gateway_tool_calls", ran))
        if delta.tool_calls is not MISSING:
            for call in delta.tool_calls:
                yield self._call(call)
        if delta.function_call is not MISSING and delta.function_call is not None:
            yield self._function(_DEPRECATED_CALL, "call_0", delta.function_call)

    def _text(self, text: str, choice: models.CreateChatCompletionStreamResponseChoice) -> bytes:
        logprobs = choice.logprobs.content if choice.logprobs else None
        if not logprobs:
            return self._turn.add_text(TEXT, (inside(text),))
        return self._turn.beside(TEXT, lambda: self._parts.with_logprobs(text, logprobs))

    def _beside(self, extra: Mapping[str, object], names: Iterable[str]) -> Iterable[bytes]:
        for name in names:
            values = extra.get(name)
            if name in self._parts.extra_fields and isinstance(values, list) and values:
                yield self._turn.beside(_PARTS[name], partial(self._parts.write_field, name, values))

    def _call(self, call: models.ChatCompletionMessageToolCallChunk) -> bytes:
        if call.model_extra and isinstance(call.id, str):
            self.kept_of_calls[call.id] = call.model_extra
        custom = (call.model_extra or {}).get("custom")
        if isinstance(custom, dict):
            return self._custom(call, custom)
        if call.function is MISSING:
            return b""
        return self._function(call.index, call.id if isinstance(call.id, str) else "", call.function)

    def _function(
        self,
        index: int,
        call_id: str,
        function: models.ChatCompletionMessageToolCallChunkFunction
        | models.ChatCompletionStreamResponseDeltaFunctionCall,
    ) -> bytes:
        written = b""
        if function.name is not MISSING:
            written = self._turn.call(index, CallHead(call_id, function.name))
        if function.arguments is not MISSING and function.arguments:
            written += self._turn.add_text(index, (inside(function.arguments),))
        return written

    def _custom(self, call: models.ChatCompletionMessageToolCallChunk, custom: Mapping[str, object]) -> bytes:
        name, text, written = custom.get("name"), custom.get("input"), b""
        if isinstance(name, str) and isinstance(call.id, str):
            written = self._turn.call(call.index, CallHead(call.id, name, is_custom=True))
        if isinstance(text, str) and text:
            written += self._turn.add_text(call.index, (inside(text),))
        return written


def _join(more: Sequence[JsonValue], joined: list[JsonValue]) -> None:
    """Append pieces of parts; type and index tell which part a piece continues."""
    for piece in more:
        last = joined[-1] if joined else None
        if not isinstance(piece, dict) or not isinstance(last, dict) or not _goes_on(piece, last):
            joined.append(dict(piece) if isinstance(piece, dict) else piece)
            continue
        for name, value in piece.items():
            before = last.get(name)
            joins = name in _PIECES and isinstance(value, str) and isinstance(before, str)
            last[name] = str(before) + str(value) if joins else value if value is not None else before


def _goes_on(piece: Mapping[str, JsonValue], last: Mapping[str, JsonValue]) -> bool:
    return (
        piece.get("type") == last.get("type")
        and piece.get("index") is not None
        and piece.get("index") == last.get("index")
    )
