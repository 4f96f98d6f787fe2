"""Ollama's streams as OpenAI's chunks: lines go in one by one, and each gives the chunks it stands for."""

from collections.abc import Iterator

from ai_gateway.translate.chat_ollama import reply as whole
from ai_gateway.translate.chat_ollama.reply import Asked
from ai_gateway.translate.wires.ollama import Message, Reply, ToolCall, seconds
from gateway_contract.openai import models

type Chunk = models.CreateChatCompletionStreamResponse
type Delta = models.ChatCompletionStreamResponseDelta


class ChatChunks:
    """One chat answer. `done` is set by the line that says so, after which nothing is read."""

    def __init__(self, asked: Asked, *, include_usage: bool) -> None:
        self.done = False
        self._asked = asked
        self._include_usage = include_usage
        self._created: int | None = None
        self._model = ""
        self._begun = False
        self._thinks = False
        self._calls = 0
        self._tokens: list[models.ChatCompletionTokenLogprob] = []  # told with the next text: some tokens show none

    def take(self, reply: Reply) -> Iterator[Chunk]:
        """The chunks of one line. Raises UpstreamInvalidResponse for a line that is no part of an answer."""
        if reply.message is None and not reply.done:
            raise whole.incomplete()
        if self._created is None:
            self._created = seconds(reply.created_at) or self._asked.now
            self._model = reply.model or self._asked.model
        said = reply.message or Message()
        self._note_tokens(reply, said)
        for delta in self._deltas(said):
            yield self._chunk(delta, with_tokens=bool(delta.content))
        if reply.done:
            self.done = True
            yield from self._end(reply)

    def _note_tokens(self, reply: Reply, said: Message) -> None:
        """Tokens around the thinking that show no text may be its marks: they are left out until the answer begins."""
        if said.thinking:
            self._thinks = True
            self._tokens = []
        if said.content:
            self._thinks = False
        if not self._thinks:
            self._tokens += whole.logprobs(whole.answer_tokens(reply.logprobs, said.thinking, said.content))

    def _deltas(self, said: Message) -> Iterator[Delta]:
        calls = [self._call(call) for call in said.tool_calls or ()]
        if not self._begun:
            self._begun = True
            content = None if calls and not said.content else ""
            yield models.ChatCompletionStreamResponseDelta(role="assistant", content=content, refusal=None)
        if said.thinking:
            yield models.ChatCompletionStreamResponseDelta().model_copy(update={"reasoning_content": said.thinking})
        if said.content:
            yield models.ChatCompletionStreamResponseDelta(content=said.content)
        if said.images:
            yield models.ChatCompletionStreamResponseDelta().model_copy(update={"images": said.images})
        for call in calls:
            yield models.ChatCompletionStreamResponseDelta(tool_calls=[call])

    def _call(self, call: ToolCall) -> models.ChatCompletionMessageToolCallChunk:
        """A whole call: Ollama does not send them in pieces, and numbers them in each line anew."""
        at = self._calls
        self._calls += 1
        return models.ChatCompletionMessageToolCallChunk(
            index=at,
            id=whole.call_id(call, self._asked, at),
            type="function",
            function=models.ChatCompletionMessageToolCallChunkFunction(
                name=call.function.name, arguments=whole.arguments(call)
            ),
        )

    def _end(self, reply: Reply) -> Iterator[Chunk]:
        last = self._chunk(models.ChatCompletionStreamResponseDelta(), with_tokens=True)
        last.choices[0].finish_reason = whole.chat_finish(reply, calls=self._calls > 0)
        yield last.model_copy(update=whole.beside(reply, self._asked))
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
            id=f"chatcmpl-{self._asked.request_id}",
            object="chat.completion.chunk",
            created=self._created or self._asked.now,
            model=self._model,
            choices=[choice],
        )


class CompletionChunks:
    """One legacy completion, line by line."""

    def __init__(self, asked: Asked, *, include_usage: bool) -> None:
        self.done = False
        self._asked = asked
        self._include_usage = include_usage
        self._created: int | None = None
        self._model = ""
        self._offset = 0

    def take(self, reply: Reply) -> Iterator[models.CreateCompletionStreamResponse]:
        """The chunks of one line. Raises UpstreamInvalidResponse for a line that is no part of an answer."""
        if reply.response is None and not reply.done:
            raise whole.incomplete()
        if self._created is None:
            self._created = seconds(reply.created_at) or self._asked.now
            self._model = reply.model or self._asked.model
        if reply.response or reply.thinking or reply.logprobs:
            yield self._chunk(reply)
        if reply.done:
            self.done = True
            last = self._chunk(Reply())
            last.choices[0].finish_reason = whole.finish(reply)
            yield last.model_copy(update=whole.beside(reply, self._asked))
            if self._include_usage:
                yield last.model_copy(update={"choices": [], "usage": whole.usage(reply)})

    def _chunk(self, reply: Reply) -> models.CreateCompletionStreamResponse:
        text = reply.response or ""
        tokens = whole.answer_tokens(reply.logprobs, reply.thinking, text)
        choice = models.CreateCompletionStreamResponseChoice(
            index=0, text=text, logprobs=whole.legacy_logprobs(tokens, self._offset), finish_reason=None
        )
        self._offset += len(text)
        if reply.thinking:
            choice = choice.model_copy(update={"reasoning_content": reply.thinking})
        return models.CreateCompletionStreamResponse(
            id=f"cmpl-{self._asked.request_id}",
            object="text_completion",
            created=self._created or self._asked.now,
            model=self._model,
            choices=[choice],
        )
