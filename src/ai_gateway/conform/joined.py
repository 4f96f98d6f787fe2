"""Joins a stream that an upstream sent for a whole reply: its legal chunks, combined as a client would."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ai_gateway.conform.chunks import ChatChunk, CompletionChunk
from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.rules import JOIN_EVENTS
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.contract.stream import DONE, Item
from ai_gateway.contract.write import to_fields
from gateway_contract.openai import models

type _Chunk = type[ChatChunk] | type[CompletionChunk]
type Object = dict[str, Any]

_CHUNKS: dict[type[object], _Chunk] = {
    models.CreateChatCompletionResponse: ChatChunk,
    models.CreateCompletionResponse: CompletionChunk,
}
_OBJECTS = {"chat.completion.chunk": "chat.completion", "text_completion": "text_completion"}
# Fields that clients append; of others the last value is used.
_TEXTS = frozenset({"content", "reasoning_content", "reasoning", "refusal", "text", "arguments"})


def joined_reply(reply: type[object], events: Sequence[bytes], choices: int, conformer: Conformer) -> Object | None:
    """The reply from the events; None if there are none, or this kind of reply has no stream.

    Raises the error that the stream would end with.
    """
    model = _CHUNKS.get(reply)
    if model is None or not events:
        return None
    conformer.report(JOIN_EVENTS)
    return join(to_fields(chunk) for chunk in _legal_chunks(model, events, choices, conformer))


def join(chunks: Iterable[Mapping[str, Any]]) -> Object:
    """The fields of the reply from legal chunks."""
    whole: Object = {}
    for chunk in chunks:
        fields = dict(chunk)
        pieces = fields.pop("choices")
        whole.update({name: value for name, value in fields.items() if value is not None or name not in whole})
        for piece in pieces if isinstance(pieces, list) else ():
            _add(whole.setdefault("choices", {}).setdefault(piece["index"], {}), piece)
    ended = [_ended(choice) for _, choice in sorted(whole.get("choices", {}).items())]
    return {**whole, "object": _OBJECTS.get(whole.get("object", ""), ""), "choices": ended}


def _legal_chunks(model: _Chunk, events: Sequence[bytes], choices: int, conformer: Conformer) -> Iterator[Any]:
    state: StreamState[Any] = StreamState(
        choices, include_usage=True, report=conformer.report, content_fields=conformer.content_fields
    )
    for event in events:
        item = conformer.event(model, event)
        if item is DONE:  # later events are ignored, as in a relayed stream
            state.terminated = True
            break
        if isinstance(item, Item):
            sent = state.take(item.model)
            yield from (early.model for early in state.early())
            if sent is not None and state.is_last:
                state.hold(Item(sent))
            elif sent is not None:
                yield sent
    yield from (last.model for last in state.end(conformer.usage_beside))


def _add(whole: Object, piece: Object, place: str = "choice") -> None:
    """Merge a later piece into an object. `place` distinguishes the contract's fields from an upstream's own."""
    for name, value in piece.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif name in _TEXTS and isinstance(before, str) and isinstance(value, str):
            whole[name] = before + value
        elif place == "delta" and name == "tool_calls" and isinstance(value, list):
            for call in value:
                _add(whole.setdefault(name, {}).setdefault(call["index"], {}), call, "call")
        elif isinstance(before, list) and isinstance(value, list):
            whole[name] = before + value
        elif isinstance(value, dict):
            kept = before if isinstance(before, dict) else {}
            _add(kept, value, "delta" if place == "choice" and name == "delta" else "")
            whole[name] = kept
        else:
            whole[name] = value


def _ended(choice: Object) -> Object:
    """A whole choice, with the joined delta as its message."""
    if "delta" not in choice:
        return choice
    message = choice.pop("delta")
    if calls := message.pop("tool_calls", None):
        message["tool_calls"] = [
            {name: value for name, value in call.items() if name != "index"} for _, call in sorted(calls.items())
        ]
    return {**choice, "message": {"content": None, **message}}
