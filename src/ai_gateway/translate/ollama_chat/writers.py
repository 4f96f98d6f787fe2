"""Writes an answer as Ollama's responses and lines: a `message` for chat, a `response` for generate."""

from collections.abc import Mapping

from pydantic import BaseModel

from ai_gateway.translate.extra_fields import carry
from ai_gateway.translate.ollama_chat.piece import End, Extras, Piece
from ai_gateway.translate.ollama_chat.timings import Stopwatch
from ai_gateway.translate.wires.ollama import Timed
from gateway_contract.ollama import models

type Line = models.OllamaChatStreamEvent | models.OllamaGenerateStreamEvent
type Whole = models.OllamaChatResponse | models.OllamaGenerateResponse


class ChatWriter:
    """Lines and responses of `/api/chat`. `model` is the name that the caller used."""

    def __init__(self, model: str, watch: Stopwatch) -> None:
        self._model = model
        self._watch = watch

    def line(self, piece: Piece) -> models.OllamaChatStreamEvent:
        """A piece of the answer."""
        self._watch.output_received()
        message = models.OllamaChatStreamEventMessage(role="assistant", content=piece.content)
        if piece.thinking:
            message.thinking = piece.thinking
        if piece.calls:
            message.tool_calls = piece.calls
        if piece.images:
            message.images = piece.images
        line = models.OllamaChatStreamEvent(
            model=self._model, created_at=self._watch.now(), message=message, done=False
        )
        if piece.logprobs:
            line.logprobs = piece.logprobs
        return _with_extras(line, message, piece.extras)

    def last_line(self, end: End) -> models.OllamaChatStreamEvent:
        """The last line, with `done_reason` and measures."""
        message = models.OllamaChatStreamEventMessage(role="assistant", content="")
        line = models.OllamaChatStreamEvent(
            model=self._model,
            created_at=self._watch.now(),
            message=message,
            done=True,
            done_reason=end.reason,
            **_measures(self._watch, end),
        )
        return _with_extras(line, message, end.extras)

    def whole(self, piece: Piece, end: End) -> models.OllamaChatResponse:
        """The complete response."""
        message = models.OllamaChatResponseMessage(role="assistant", content=piece.content)
        if piece.thinking:
            message.thinking = piece.thinking
        if piece.calls:
            message.tool_calls = piece.calls
        if piece.images:
            message.images = piece.images
        reply = models.OllamaChatResponse(
            model=self._model,
            created_at=self._watch.now(),
            message=message,
            done=True,
            done_reason=end.reason,
            **_measures(self._watch, end),
        )
        if piece.logprobs:
            reply.logprobs = piece.logprobs
        return _with_extras(reply, message, piece.extras)

    def empty(self, reason: str) -> models.OllamaChatResponse:
        """The response to a request without messages or prompt."""
        return models.OllamaChatResponse(
            model=self._model,
            created_at=self._watch.now(),
            message=models.OllamaChatResponseMessage(role="assistant", content=""),
            done=True,
            done_reason=reason,
        )


class GenerateWriter:
    """Lines and responses of `/api/generate`. `model` is the name that the caller used."""

    def __init__(self, model: str, watch: Stopwatch) -> None:
        self._model = model
        self._watch = watch

    def line(self, piece: Piece) -> models.OllamaGenerateStreamEvent:
        """A piece of the answer."""
        self._watch.output_received()
        line = models.OllamaGenerateStreamEvent(
            model=self._model, created_at=self._watch.now(), response=piece.content, done=False
        )
        if piece.thinking:
            line.thinking = piece.thinking
        if piece.logprobs:
            line.logprobs = piece.logprobs
        return _with_extras(line, line, piece.extras)

    def last_line(self, end: End) -> models.OllamaGenerateStreamEvent:
        """The last line, with `done_reason` and measures."""
        line = models.OllamaGenerateStreamEvent(
            model=self._model,
            created_at=self._watch.now(),
            response="",
            done=True,
            done_reason=end.reason,
            **_measures(self._watch, end),
        )
        if end.context is not None:
            line.context = end.context
        return _with_extras(line, line, end.extras)

    def whole(self, piece: Piece, end: End) -> models.OllamaGenerateResponse:
        """The complete response."""
        reply = models.OllamaGenerateResponse(
            model=self._model,
            created_at=self._watch.now(),
            response=piece.content,
            done=True,
            done_reason=end.reason,
            **_measures(self._watch, end),
        )
        if piece.thinking:
            reply.thinking = piece.thinking
        if piece.logprobs:
            reply.logprobs = piece.logprobs
        if end.context is not None:
            reply.context = end.context
        return _with_extras(reply, reply, piece.extras)

    def empty(self, reason: str) -> models.OllamaGenerateResponse:
        """The response to a request without messages or prompt."""
        return models.OllamaGenerateResponse(
            model=self._model, created_at=self._watch.now(), response="", done=True, done_reason=reason
        )


def _with_extras[Model: BaseModel](line: Model, message: BaseModel, extras: Extras | None) -> Model:
    """The line with the extra fields: those of the choice are its own, since Ollama has none."""
    if extras is not None:
        carry(extras.reply, line)
        carry(extras.choice, line)
        carry(extras.message, message)
    return line


def _measures(watch: Stopwatch, end: End) -> dict[str, int]:
    usage = end.usage
    measured = watch.measures(usage.prompt_tokens if usage else 0, usage.completion_tokens if usage else 0)
    return prefer_upstream_timings(measured, end.durations)


def prefer_upstream_timings(measured: dict[str, int], durations: Mapping[str, int] | None) -> dict[str, int]:
    """The measures, with the durations of an Ollama server, if there are any, instead of the gateway's."""
    if not durations:
        return measured
    return {**{name: value for name, value in measured.items() if name not in Timed.model_fields}, **durations}
