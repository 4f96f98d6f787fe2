"""Extra fields of a stream's chunks, for which Anthropic's wire has no event: collected for the last one."""

from collections.abc import Callable
from typing import Final

from pydantic import MISSING
from pydantic_core import to_json

from ai_gateway.translate.anthropic_chat.reply import extra_of, extra_of_call, extra_of_end
from ai_gateway.translate.carriers import KEPT
from ai_gateway.translate.extra_fields import Fields, extra_fields, is_same, merge, names_of, place
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

_HEAD: Final = names_of(anthropic.AnthropicMessage)
_DELTA: Final = names_of(anthropic.AnthropicMessageDelta)
_LISTS: Final = frozenset({"annotations", "images"})  # which chunks extend
_PADDING: Final = "p"  # hides how long the texts are: docs.mistral.ai/resources/changelogs
_FEW: Final = 64 * 1024


class StreamExtras:
    """Collects extra fields, chunk by chunk.

    `head` are those of the first chunk, for the first event; `kept` are objects that the upstream needs again. `charge`
    is called with the bytes of larger fields, and may raise Overloaded.
    """

    def __init__(self, charge: Callable[[int], None]) -> None:
        self.head: Fields = {}
        self.kept: Fields = {}
        self._later: Fields = {}
        self._charge = charge
        self._size, self._paid = 0, _FEW

    def begin(self, chunk: openai.CreateChatCompletionStreamResponse) -> None:
        """The first chunk."""
        if chunk.model_extra:
            place(_of_chunk(chunk), self.head, _HEAD)

    def note(self, chunk: openai.CreateChatCompletionStreamResponse) -> None:
        """Any chunk, the first among them."""
        if chunk.model_extra:
            self._add(_of_chunk(chunk))
        for choice in chunk.choices:
            if choice.index != 0:
                continue
            if choice.model_extra:
                self._add(extra_of_end(choice))
            if choice.delta.model_extra:
                self._note_delta(choice.delta)
            if choice.delta.tool_calls is not MISSING:
                for call in choice.delta.tool_calls:
                    self._note_call(call)

    def collected(self) -> Fields:
        """All collected fields, for the event with the stop reason."""
        fields: Fields = {}
        place(self._later, fields, _DELTA)
        return fields

    def _note_delta(self, delta: openai.ChatCompletionStreamResponseDelta) -> None:
        extra = delta.model_extra or {}
        for name in KEPT & extra.keys():
            if isinstance(extra[name], dict):
                merge({name: extra[name]}, self.kept)
        extras = extra_of(delta)
        for name in _LISTS & extras.keys():
            if isinstance(more := extras[name], list) and isinstance(joined := self._later.setdefault(name, []), list):
                self._charge_fields({name: extras.pop(name)})
                joined += more
        self._add(extras)

    def _note_call(self, call: openai.ChatCompletionMessageToolCallChunk) -> None:
        if call.model_extra and call.id is MISSING:  # else they are in its block
            self._add(extra_of_call(call))
        if call.function is not MISSING and call.function.model_extra:
            self._add(extra_fields(call.function))

    def _add(self, fields: Fields) -> None:
        known = (self.head, self._later)
        new = {
            name: value
            for name, value in fields.items()
            if not any(name in earlier and is_same(earlier[name], value) for earlier in known)
        }
        if new:
            self._charge_fields(new)
            merge(new, self._later)

    def _charge_fields(self, fields: Fields) -> None:
        self._size += len(to_json(fields))
        while self._size > self._paid:
            self._charge(self._paid)
            self._paid *= 2


def _of_chunk(chunk: openai.CreateChatCompletionStreamResponse) -> Fields:
    return {name: value for name, value in extra_fields(chunk).items() if name != _PADDING}
