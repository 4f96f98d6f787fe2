"""OpenAI's chunks as pieces of an answer; tool calls follow once they are complete, as Ollama sends them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pydantic import MISSING, BaseModel
from pydantic_core import to_json

from ai_gateway.contract.reasoning import thought_in
from ai_gateway.errors import UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.translate.extra_fields import Fields, extra_fields, merge
from ai_gateway.translate.ollama_chat import reply
from ai_gateway.translate.ollama_chat.piece import End, Extras, Piece
from gateway_contract.ollama.models import OllamaReplyToolCall
from gateway_contract.openai import models as openai

type Chunk = openai.CreateChatCompletionStreamResponse | openai.CreateCompletionStreamResponse
type _Function = (
    openai.ChatCompletionMessageToolCallChunkFunction | openai.ChatCompletionStreamResponseDeltaFunctionCall
)
# Arguments are buffered until the call is complete, so their size is bounded.
_MAX_ARGUMENTS = 8 * 1024 * 1024
_MAX_HELD = 64 * 1024


@dataclass(slots=True)
class _Call:
    """A tool call that may not be complete yet."""

    call_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    extras: Fields = field(default_factory=dict)
    named: Fields = field(default_factory=dict)
    begun: bool = False

    def whole(self) -> reply.Called:
        """The call once it is complete."""
        return reply.Called(self.call_id, self.name, "".join(self.arguments), self.extras, self.named)


def _is_sign_of_life(chunk: Chunk) -> bool:
    """Whether it is a keep-alive: NDJSON has no comments, so it becomes a line without a text."""
    choice = chunk.choices[0] if len(chunk.choices) == 1 else None
    if not isinstance(choice, openai.CreateChatCompletionStreamResponseChoice):
        return False
    return choice.finish_reason is None and not choice.delta.model_fields_set and not choice.delta.model_extra


class ChunkTranslator:
    """One stream of either operation.

    The extra fields of a chunk without content are sent with the next piece, those of the last with the last line. If
    the next piece has another value for one of them, they become a piece of their own.

    `whole_calls`: the upstream speaks Ollama's wire, so that each call is complete in one chunk.
    """

    def __init__(self, *, whole_calls: bool = False) -> None:
        self._whole_calls = whole_calls
        self._sent_calls = 0  # number of sent calls
        self._calls: dict[int, _Call] = {}
        self._function_call = _Call()  # from the deprecated field
        self._collected = 0
        self._answered = False
        self._finish: str | None = None
        self._usage: openai.CompletionUsage | None = None
        self._context: list[int] | None = None
        self._durations: dict[str, int] | None = None
        self._held: Extras | None = None
        self._held_size = 0

    def feed(self, chunk: Chunk) -> Iterator[Piece]:
        """The chunk's pieces. Raises UpstreamInvalidResponse for one that Ollama's format cannot express."""
        if isinstance(chunk.usage, openai.CompletionUsage):
            self._usage = chunk.usage
        self._durations = reply.durations(chunk.model_extra) or self._durations
        if isinstance(chunk, openai.CreateCompletionStreamResponse):
            self._context = reply.context(chunk.model_extra) or self._context
            piece = self._completion_piece(chunk)
        else:
            piece = self._chat_piece(chunk)
        if piece.extras is None and (self._held is None or _is_sign_of_life(chunk)):
            if not piece.empty or _is_sign_of_life(chunk):
                yield piece
        else:
            yield from self._with_extras(piece)

    def end(self) -> End:
        """The end. Raises UpstreamStreamTruncated without a finish reason, UpstreamInvalidResponse for a lost call."""
        if self._finish is None:
            raise UpstreamStreamTruncated.ended()
        if not self._answered:
            reply.require_answer(self._finish)
        return End(reply.reason(self._finish), self._usage, self._context, self._durations, self._held)

    def _with_extras(self, piece: Piece) -> Iterator[Piece]:
        """The piece with the extra fields that were held, and its own unless it comes with the end."""
        mine, is_last = piece.extras, self._finish is not None
        if not piece.empty and is_last:
            yield replace(piece, extras=self._take())
        elif mine is not None and self._held is not None and not self._held.agrees(mine):
            yield Piece(extras=self._take())
        if mine is not None:
            if self._held is None:
                self._held = mine
            else:
                self._held.add(mine)
            self._held_size += sum(len(to_json(fields)) for fields in mine.places)
        if not piece.empty and not is_last:
            yield replace(piece, extras=self._take())
        elif self._held_size > _MAX_HELD:
            yield Piece(extras=self._take())

    def _take(self) -> Extras | None:
        held, self._held, self._held_size = self._held, None, 0
        return held

    def _completion_piece(self, chunk: openai.CreateCompletionStreamResponse) -> Piece:
        choice = next((choice for choice in chunk.choices if choice.index == 0), None)
        extras = reply.text_extras(chunk, choice)
        if choice is None:
            return Piece(extras=extras)
        self._finish = choice.finish_reason or self._finish
        thinking = thought_in(choice.model_extra) or thought_in(chunk.model_extra)
        logprobs = reply.text_logprobs(choice.logprobs)
        return Piece(content=choice.text, thinking=thinking, logprobs=logprobs, extras=extras)

    def _chat_piece(self, chunk: openai.CreateChatCompletionStreamResponse) -> Piece:
        choice = next((choice for choice in chunk.choices if choice.index == 0), None)
        if choice is None:
            return Piece(extras=reply.chat_extras(chunk, None, None))
        delta = choice.delta
        whole = self._collect_calls(delta)
        self._finish = choice.finish_reason or self._finish
        finished = choice.finish_reason is not None
        piece = Piece(
            content=delta.content or delta.refusal or "",
            thinking=thought_in(delta.model_extra),
            calls=[*whole, *self._complete_calls(cut=choice.finish_reason == "length")] if finished else whole,
            logprobs=reply.chat_logprobs(choice.logprobs.content if choice.logprobs else None),
            images=reply.images(delta.model_extra),
            extras=reply.chat_extras(chunk, choice, delta),
        )
        self._answered = self._answered or bool(piece.content or piece.calls)
        return piece

    def _collect_calls(self, delta: openai.ChatCompletionStreamResponseDelta) -> list[OllamaReplyToolCall]:
        """The calls that are complete; a truncated one is kept for the end, which has the finish reason."""
        whole: list[OllamaReplyToolCall] = []
        for call in [] if delta.tool_calls is MISSING else delta.tool_calls:
            known = self._calls.setdefault(call.index, _Call())
            known.call_id = known.call_id if call.id is MISSING else call.id
            self._add(known.extras, call)
            if call.function is not MISSING:
                self._collect(known, call.function)
            if self._whole_calls and (made := reply.tool_calls([known.whole()], cut=True)):
                whole += self._numbered(made)
                del self._calls[call.index]
        if delta.function_call is not MISSING:
            self._collect(self._function_call, delta.function_call)
        return whole

    def _collect(self, call: _Call, more: _Function) -> None:
        call.begun = True
        call.name = call.name if more.name is MISSING else more.name
        if more.arguments is not MISSING:
            call.arguments.append(more.arguments)
            self._collected += len(more.arguments)
        self._add(call.named, more)
        if self._collected > _MAX_ARGUMENTS:
            raise UpstreamInvalidResponse("The provider called a tool with endless arguments.")

    def _add(self, extras: Fields, piece: BaseModel) -> None:
        """Add the extra fields of one more piece of a call."""
        if more := extra_fields(piece):
            self._collected += len(to_json(more))
            merge(more, extras)

    def _complete_calls(self, *, cut: bool) -> list[OllamaReplyToolCall]:
        calls = [call for _, call in sorted(self._calls.items()) if call.begun]
        if self._function_call.name and not calls:  # if both are sent, they are the same call
            calls.append(self._function_call)
        return self._numbered(reply.tool_calls([call.whole() for call in calls], cut=cut))

    def _numbered(self, calls: list[OllamaReplyToolCall]) -> list[OllamaReplyToolCall]:
        for call in calls:
            call.function.index, self._sent_calls = self._sent_calls, self._sent_calls + 1
        return calls
