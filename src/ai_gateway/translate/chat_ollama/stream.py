"""Ollama's streams as OpenAI's chunks: each line is translated to its chunks.

The format: ollama's docs/api.md, "Generate a chat completion" and "Generate a completion".
"""

from collections.abc import Iterator

from ai_gateway.translate.chat_ollama import reply as whole
from ai_gateway.translate.chat_ollama.forced import ForcedContent
from ai_gateway.translate.chat_ollama.reply import RequestContext
from ai_gateway.translate.wires.ollama import CalledFunction, Message, Reply, ToolCall, seconds
from gateway_contract.openai import models

type Chunk = models.CreateChatCompletionStreamResponse
type Delta = models.ChatCompletionStreamResponseDelta


class ChatStreamTranslator:
    """One chat response. `done` is set by the line with `done: true`, after which nothing is read."""

    def __init__(self, request: RequestContext, *, include_usage: bool) -> None:
        self.done = False
        self._request = request
        self._include_usage = include_usage
        self._created: int | None = None
        self._model = ""
        self._begun = False
        self._in_thinking = False
        self._calls = 0
        self._forced = ForcedContent(request.forced) if request.forced else None
        self._tokens: list[models.ChatCompletionTokenLogprob] = []  # sent with the next text: some tokens have none

    def feed(self, reply: Reply) -> Iterator[Chunk]:
        """The chunks of one line. Raises UpstreamInvalidResponse for a line that is not part of an answer."""
        if reply.message is None and not reply.done:
            raise whole.incomplete()
        if self._created is None:
            self._created = seconds(reply.created_at) or self._request.now
            self._model = reply.model or self._request.model
        message = reply.message or Message()
        self._collect_tokens(reply, message)
        chunks = [self._chunk(delta, with_tokens=bool(delta.content)) for delta in self._deltas(message)]
        if not reply.done and (message.model_extra or reply.model_extra):
            chunks = chunks or [self._chunk(models.ChatCompletionStreamResponseDelta())]
            self._request.carry(message, chunks[-1].choices[0].delta)
            self._request.carry(reply, chunks[-1])
        yield from chunks
        if reply.done:
            self.done = True
            for delta in self._kept(reply):
                yield self._chunk(delta, with_tokens=bool(delta.content))
            yield from self._end(reply, message)

    def _collect_tokens(self, reply: Reply, message: Message) -> None:
        """Tokens without text around the thinking may be its markers: they are left out until the answer begins."""
        if message.thinking:
            self._in_thinking = True
            self._tokens = []
        if message.content:
            self._in_thinking = False
        if not self._in_thinking:
            tokens = whole.answer_tokens(reply.logprobs, message.thinking, message.content)
            self._tokens += whole.logprobs(tokens, self._request)

    def _deltas(self, message: Message) -> Iterator[Delta]:
        calls = [self._call(call) for call in message.tool_calls or ()]
        if not self._begun:
            self._begun = True
            content = None if (calls and not message.content) or self._forced else ""
            yield models.ChatCompletionStreamResponseDelta(role="assistant", content=content, refusal=None)
        if message.thinking:
            yield models.ChatCompletionStreamResponseDelta().model_copy(update={"reasoning_content": message.thinking})
        if message.content:
            yield from self._content(message.content)
        if message.images:
            yield models.ChatCompletionStreamResponseDelta().model_copy(update={"images": message.images})
        # OpenAI's clients expect one call a chunk; for callers of Ollama's API, the calls of a line stay together.
        for together in [calls] if self._request.native and calls else [[call] for call in calls]:
            yield models.ChatCompletionStreamResponseDelta(tool_calls=together)

    def _content(self, text: str) -> Iterator[Delta]:
        """The answer's text, or arguments if it is a forced call."""
        arguments = ""
        if self._forced is not None:
            begins = not self._forced.calls
            text, arguments = self._forced.feed(text)
            if arguments and begins and self._request.forced:
                call = ToolCall(function=CalledFunction(name=self._request.forced.names[0], arguments=arguments))
                yield models.ChatCompletionStreamResponseDelta(tool_calls=[self._call(call)])
                return
        if text:
            yield models.ChatCompletionStreamResponseDelta(content=text)
        if arguments:
            function = models.ChatCompletionMessageToolCallChunkFunction(arguments=arguments)
            piece = models.ChatCompletionMessageToolCallChunk(index=self._calls - 1, function=function)
            yield models.ChatCompletionStreamResponseDelta(tool_calls=[piece])

    def _kept(self, reply: Reply) -> Iterator[Delta]:
        """The content held back for a forced call, at the end of the answer."""
        for kept in self._forced.end(cut=whole.finish(reply) == "length") if self._forced else ():
            if isinstance(kept, str):
                yield models.ChatCompletionStreamResponseDelta(content=kept)
            else:
                yield models.ChatCompletionStreamResponseDelta(tool_calls=[self._call(kept)])

    @property
    def lacks_forced_call(self) -> bool:
        """Whether the answer turned out to be text although a call was forced."""
        return self._forced is not None and self._forced.is_text

    def _call(self, call: ToolCall) -> models.ChatCompletionMessageToolCallChunk:
        """A complete call: Ollama does not stream arguments, and counts the calls from 0 in every line."""
        at = self._calls
        self._calls += 1
        function = models.ChatCompletionMessageToolCallChunkFunction(
            name=call.function.name, arguments=whole.arguments(call)
        )
        self._request.carry(call.function, function)
        made = models.ChatCompletionMessageToolCallChunk(
            index=at, id=whole.call_id(call, self._request, at), type="function", function=function
        )
        return self._request.carry(call, made)

    def _end(self, reply: Reply, message: Message) -> Iterator[Chunk]:
        delta = self._request.carry(message, models.ChatCompletionStreamResponseDelta())
        last = self._chunk(delta, with_tokens=True)
        ended = {"finish_reason": whole.chat_finish(reply, calls=self._calls > 0), **whole.native_finish(reply)}
        last.choices = [choice.model_copy(update=ended) for choice in last.choices]
        yield self._request.carry(reply, last.model_copy(update=whole.beside(reply, self._request)))
        if self._include_usage:
            yield last.model_copy(update={"choices": [], "usage": whole.usage(reply)})

    def _chunk(self, delta: Delta, *, with_tokens: bool = False) -> Chunk:
        choice = models.CreateChatCompletionStreamResponseChoice(
            index=0, delta=delta, logprobs=None, finish_reason=None
        )
        if with_tokens and self._tokens:
            tokens, self._tokens = self._tokens, []
            choice.logprobs = models.CreateChatCompletionStreamResponseChoiceLogprobs(content=tokens, refusal=None)
        return models.CreateChatCompletionStreamResponse(
            id=f"chatcmpl-{self._request.request_id}",
            object="chat.completion.chunk",
            created=self._created or self._request.now,
            model=self._model,
            choices=[choice],
        )


class CompletionStreamTranslator:
    """One legacy completion. `done` is set as for chat."""

    def __init__(self, request: RequestContext, *, include_usage: bool) -> None:
        self.done = False
        self._request = request
        self._include_usage = include_usage
        self._created: int | None = None
        self._model = ""
        self._offset = 0

    def feed(self, reply: Reply) -> Iterator[models.CreateCompletionStreamResponse]:
        """The chunks of one line. Raises UpstreamInvalidResponse for a line that is not part of an answer."""
        if reply.response is None and not reply.done:
            raise whole.incomplete()
        if self._created is None:
            self._created = seconds(reply.created_at) or self._request.now
            self._model = reply.model or self._request.model
        if reply.response or reply.thinking or reply.logprobs or (reply.model_extra and not reply.done):
            chunk = self._chunk(reply)
            yield chunk if reply.done else self._request.carry(reply, chunk)
        if reply.done:
            self.done = True
            last = self._chunk(Reply())
            ended = {"finish_reason": whole.finish(reply), **whole.native_finish(reply)}
            last.choices = [choice.model_copy(update=ended) for choice in last.choices]
            yield self._request.carry(reply, last.model_copy(update=whole.beside(reply, self._request)))
            if self._include_usage:
                yield last.model_copy(update={"choices": [], "usage": whole.usage(reply)})

    def _chunk(self, reply: Reply) -> models.CreateCompletionStreamResponse:
        text = reply.response or ""
        tokens = whole.answer_tokens(reply.logprobs, reply.thinking, text)
        choice = models.CreateCompletionStreamResponseChoice(
            index=0, text=text, logprobs=whole.legacy_logprobs(tokens, self._offset, self._request), finish_reason=None
        )
        self._offset += len(text)
        if reply.thinking:
            choice = choice.model_copy(update={"reasoning_content": reply.thinking})
        return models.CreateCompletionStreamResponse(
            id=f"cmpl-{self._request.request_id}",
            object="text_completion",
            created=self._created or self._request.now,
            model=self._model,
            choices=[choice],
        )
