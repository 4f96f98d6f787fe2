"""Streams on OpenAI's wire as what a model says: piece by piece, tool calls once they are whole."""

from dataclasses import dataclass, field

from pydantic import MISSING

from ai_gateway.errors import UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.translate import ollama_openai_reply as reply
from ai_gateway.translate.ollama_piece import End, Piece
from gateway_contract.ollama.models import OllamaReplyToolCall
from gateway_contract.openai import models as openai

type Chunk = openai.CreateChatCompletionStreamResponse | openai.CreateCompletionStreamResponse
# Arguments are collected before they are told, so they must end somewhere.
_MOST_ARGUMENTS = 8 * 1024 * 1024


@dataclass(slots=True)
class _Call:
    """A tool call of which more may come."""

    ident: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Telling:
    """One stream, of either operation, from its first chunk to its end."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._collected = 0
        self._finish: str | None = None
        self._usage: openai.CompletionUsage | None = None
        self._context: list[int] | None = None
        self._durations: dict[str, int] | None = None

    def take(self, chunk: Chunk) -> Piece | None:
        """What a chunk adds, if anything. Raises UpstreamInvalidResponse for what Ollama's wire cannot say."""
        if isinstance(chunk.usage, openai.CompletionUsage):
            self._usage = chunk.usage
        self._durations = reply.durations(chunk.model_extra) or self._durations
        if isinstance(chunk, openai.CreateCompletionStreamResponse):
            self._context = reply.context(chunk.model_extra) or self._context
            piece = self._continued(chunk)
        else:
            piece = self._said(chunk)
        return None if piece is None or piece.empty else piece

    def end(self) -> End:
        """How it ended. Raises UpstreamStreamTruncated if it never said so."""
        if self._finish is None:
            raise UpstreamStreamTruncated("The provider ended the stream before it was complete.")
        return End(reply.reason(self._finish), self._usage, self._context, self._durations)

    def _continued(self, chunk: openai.CreateCompletionStreamResponse) -> Piece | None:
        choice = next((choice for choice in chunk.choices if choice.index == 0), None)
        if choice is None:
            return None
        self._finish = choice.finish_reason or self._finish
        thinking = reply.thought(choice.model_extra) or reply.thought(chunk.model_extra)
        return Piece(content=choice.text, thinking=thinking, logprobs=reply.text_logprobs(choice.logprobs))

    def _said(self, chunk: openai.CreateChatCompletionStreamResponse) -> Piece | None:
        choice = next((choice for choice in chunk.choices if choice.index == 0), None)
        if choice is None:
            return None
        delta = choice.delta
        for call in [] if delta.tool_calls is MISSING else delta.tool_calls:
            self._collect(call)
        self._finish = choice.finish_reason or self._finish
        finished = choice.finish_reason is not None
        return Piece(
            content=delta.content or delta.refusal or "",
            thinking=reply.thought(delta.model_extra),
            calls=self._whole_calls(cut=choice.finish_reason == "length") if finished else [],
            logprobs=reply.chat_logprobs(choice.logprobs.content if choice.logprobs else None),
            images=reply.pictures(delta.model_extra),
        )

    def _collect(self, delta: openai.ChatCompletionMessageToolCallChunk) -> None:
        if delta.function is MISSING:
            return
        call = self._calls.setdefault(delta.index, _Call())
        call.ident = call.ident if delta.id is MISSING else delta.id
        call.name = call.name if delta.function.name is MISSING else delta.function.name
        if delta.function.arguments is not MISSING:
            call.arguments.append(delta.function.arguments)
            self._collected += len(delta.function.arguments)
        if self._collected > _MOST_ARGUMENTS:
            raise UpstreamInvalidResponse("The provider called a tool with endless arguments.")

    def _whole_calls(self, *, cut: bool) -> list[OllamaReplyToolCall]:
        calls = [self._calls[index] for index in sorted(self._calls)]
        return reply.tool_calls([(call.ident, call.name, "".join(call.arguments)) for call in calls], cut=cut)
