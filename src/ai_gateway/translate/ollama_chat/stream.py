"""OpenAI's chunks as pieces of an answer; tool calls follow once they are complete, as Ollama sends them."""

from dataclasses import dataclass, field

from pydantic import MISSING

from ai_gateway.errors import UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.translate.ollama_chat import reply
from ai_gateway.translate.ollama_chat.piece import End, Piece
from gateway_contract.ollama.models import OllamaReplyToolCall
from gateway_contract.openai import models as openai

type Chunk = openai.CreateChatCompletionStreamResponse | openai.CreateCompletionStreamResponse
type _Function = (
    openai.ChatCompletionMessageToolCallChunkFunction | openai.ChatCompletionStreamResponseDeltaFunctionCall
)
# Arguments are buffered until the call is complete, so their size is bounded.
_MOST_ARGUMENTS = 8 * 1024 * 1024


@dataclass(slots=True)
class _Call:
    """A tool call that may not be complete yet."""

    call_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ChunkTranslator:
    """One stream of either operation."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._function_call = _Call()  # from the deprecated field
        self._collected = 0
        self._answered = False
        self._finish: str | None = None
        self._usage: openai.CompletionUsage | None = None
        self._context: list[int] | None = None
        self._durations: dict[str, int] | None = None

    def feed(self, chunk: Chunk) -> Piece | None:
        """The chunk's piece, if any. Raises UpstreamInvalidResponse for one that Ollama's format cannot express."""
        if isinstance(chunk.usage, openai.CompletionUsage):
            self._usage = chunk.usage
        self._durations = reply.durations(chunk.model_extra) or self._durations
        if isinstance(chunk, openai.CreateCompletionStreamResponse):
            self._context = reply.context(chunk.model_extra) or self._context
            piece = self._completion_piece(chunk)
        else:
            piece = self._chat_piece(chunk)
        return None if piece is None or piece.empty else piece

    def end(self) -> End:
        """The end. Raises UpstreamStreamTruncated without a finish reason, UpstreamInvalidResponse for a lost call."""
        if self._finish is None:
            raise UpstreamStreamTruncated.ended()
        if not self._answered:
            reply.require_answer(self._finish)
        return End(reply.reason(self._finish), self._usage, self._context, self._durations)

    def _completion_piece(self, chunk: openai.CreateCompletionStreamResponse) -> Piece | None:
        choice = next((choice for choice in chunk.choices if choice.index == 0), None)
        if choice is None:
            return None
        self._finish = choice.finish_reason or self._finish
        thinking = reply.thinking(choice.model_extra) or reply.thinking(chunk.model_extra)
        return Piece(content=choice.text, thinking=thinking, logprobs=reply.text_logprobs(choice.logprobs))

    def _chat_piece(self, chunk: openai.CreateChatCompletionStreamResponse) -> Piece | None:
        choice = next((choice for choice in chunk.choices if choice.index == 0), None)
        if choice is None:
            return None
        delta = choice.delta
        self._collect_calls(delta)
        self._finish = choice.finish_reason or self._finish
        finished = choice.finish_reason is not None
        piece = Piece(
            content=delta.content or delta.refusal or "",
            thinking=reply.thinking(delta.model_extra),
            calls=self._complete_calls(cut=choice.finish_reason == "length") if finished else [],
            logprobs=reply.chat_logprobs(choice.logprobs.content if choice.logprobs else None),
            images=reply.images(delta.model_extra),
        )
        self._answered = self._answered or bool(piece.content or piece.calls)
        return piece

    def _collect_calls(self, delta: openai.ChatCompletionStreamResponseDelta) -> None:
        for call in [] if delta.tool_calls is MISSING else delta.tool_calls:
            if call.function is not MISSING:
                begun = self._calls.setdefault(call.index, _Call())
                begun.call_id = begun.call_id if call.id is MISSING else call.id
                self._collect(begun, call.function)
        if delta.function_call is not MISSING:
            self._collect(self._function_call, delta.function_call)

    def _collect(self, call: _Call, more: _Function) -> None:
        call.name = call.name if more.name is MISSING else more.name
        if more.arguments is not MISSING:
            call.arguments.append(more.arguments)
            self._collected += len(more.arguments)
        if self._collected > _MOST_ARGUMENTS:
            raise UpstreamInvalidResponse("The provider called a tool with endless arguments.")

    def _complete_calls(self, *, cut: bool) -> list[OllamaReplyToolCall]:
        calls = [self._calls[index] for index in sorted(self._calls)]
        if self._function_call.name and not calls:  # if both are sent, they are the same call
            calls.append(self._function_call)
        return reply.tool_calls([(call.call_id, call.name, "".join(call.arguments)) for call in calls], cut=cut)
