"""Events of the Messages API as OpenAI's chunks: docs.anthropic.com "Streaming messages"."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic_core import to_json

from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.chat_anthropic.reply import (
    THOUGHTS,
    Object,
    annotations,
    beside,
    details,
    finish,
    native,
    plain,
    refusal,
    text_fields,
    tier,
    usage,
)
from ai_gateway.translate.extra_fields import extra_fields, names_of, place
from ai_gateway.translate.wires.anthropic import Block, Delta, Event, StopDetails, Usage
from gateway_contract.openai import models

_CHUNK = names_of(models.CreateChatCompletionStreamResponse)
_DELTA = names_of(models.ChatCompletionStreamResponseDelta)
_CALL = names_of(models.ChatCompletionMessageToolCallChunk)


@dataclass(slots=True)
class _OpenBlock:
    """A block that has begun. `call` is its index among the tool calls, `start` the position of its text.

    Text that is sent as a whole at the end is collected in lists: appending to a long string would copy it each time.
    """

    block: Block
    call: int = -1
    start: int = 0
    thinking: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    json: list[str] = field(default_factory=list)
    cited: list[Object] = field(default_factory=list)
    unread: list[Object] = field(default_factory=list)

    def whole(self) -> Object:
        """The block with all its deltas."""
        added: Object = {}
        if self.thinking or self.signature:
            added["thinking"] = self.block.thinking + "".join(self.thinking)
            added["signature"] = self.block.signature + "".join(self.signature)
        if self.json:
            added |= _input("".join(self.json))
        if self.unread:
            added["deltas"] = self.unread
        return plain(self.block) | added


class MessagesStreamTranslator:
    """Translates the events of one stream; `complete` after `message_stop`, or `finish` with a stop reason.

    The finish reason and the usage are held back until then, so that a truncated stream never looks finished.
    """

    def __init__(self, now: int) -> None:
        self.complete = False
        self._now = now
        self._head: Object = {}
        self._early: Object = {}
        self._usage = Usage()
        self._blocks: dict[int, _OpenBlock] = {}
        self._calls = 0
        self._length = 0
        self._reason: str | None = None
        self._details: StopDetails | None = None
        self._stopped_by: object = None
        self._container: object = None

    def feed(self, event: Event) -> Iterator[Object]:
        """The chunks of one event; none for types without a counterpart and for unknown ones."""
        chunks = self._chunks(event)
        return chunks if not event.model_extra else self._with_extras(list(chunks), extra_fields(event))

    def _with_extras(self, chunks: list[Object], extras: Object) -> Iterator[Object]:
        """The chunks with an event's extra fields, in the last one that every client gets.

        A ping may arrive before the first chunk, which then has its fields.
        """
        if not self._head:
            self._early |= extras
            return
        last = next((chunk for chunk in reversed(chunks) if chunk["choices"]), None)
        if last is None:
            last = self._chunk({})
            chunks.insert(0, last)
        place(extras, last, _CHUNK)
        yield from chunks

    def finish(self) -> Iterator[Object]:
        """The last chunks of a stream without its last event, if its stop reason has come: after all content."""
        if self._reason is not None:
            yield from self._end()

    def _chunks(self, event: Event) -> Iterator[Object]:
        match event.type:
            case "message_start":
                yield from self._begin(event)
            case "content_block_start":
                yield from self._open(event)
            case "content_block_delta":
                yield from self._continue(event)
            case "content_block_stop":
                yield from self._close(event.index)
            case "message_delta":
                yield from self._update_message(event)
            case "message_stop":
                yield from self._end()
            case _:
                pass

    def _begin(self, event: Event) -> Iterator[Object]:
        if event.message is None:
            raise UpstreamInvalidResponse.out_of_order("message_start")
        self._count(event.message.usage)
        self._head = {
            "id": event.message.id,
            "object": "chat.completion.chunk",
            "created": self._now,
            "model": event.message.model,
            **tier(event.message.usage),
        }
        self._container = event.message.container
        chunk = self._chunk({"role": "assistant", "content": "", "refusal": None})
        place(self._early | extra_fields(event.message), chunk, _CHUNK)
        yield chunk

    def _open(self, event: Event) -> Iterator[Object]:
        block = event.content_block
        if block is None:
            raise UpstreamInvalidResponse.out_of_order("content_block_start")
        opened = self._blocks[event.index] = _OpenBlock(block, start=self._length, cited=list(block.citations or []))
        if block.type == "tool_use":
            opened.call, self._calls = self._calls, self._calls + 1
            function = {"name": block.name, "arguments": ""}
            yield self._call(opened, block.extras, id=block.id, type="function", function=function)
        elif block.type == "text":
            if block.text:
                yield self._text(block.text)
            if others := text_fields(block):
                yield self._chunk({"other_blocks": others})
        elif block.type == "thinking" and block.thinking:
            yield self._chunk({"reasoning_content": block.thinking})

    def _continue(self, event: Event) -> Iterator[Object]:
        opened, delta = self._blocks.get(event.index), event.delta
        if opened is None or delta is None:
            raise UpstreamInvalidResponse.out_of_order("content_block_delta")
        if delta.unread is not None or (opened.block.unread is not None and delta.type != "input_json_delta"):
            opened.unread.append(plain(delta))
            return
        extras = delta.extras
        if delta.type == "input_json_delta":
            opened.json += [delta.partial_json] if delta.partial_json else []
            if opened.call >= 0:
                function = {"function": {"arguments": delta.partial_json}} if delta.partial_json else {}
                if function or extras:
                    yield self._call(opened, extras, **function)
                return
        sent = self._sent_fields(opened, delta)
        place(extras, sent, _DELTA)
        if sent:
            yield self._chunk(sent)

    def _sent_fields(self, opened: _OpenBlock, delta: Delta) -> Object:
        """The part of a delta that is sent at once; the rest follows at the end of its block."""
        match delta.type:
            case "text_delta" if delta.text:
                self._length += len(delta.text)
                return {"content": delta.text}
            case "thinking_delta" if delta.thinking:
                opened.thinking.append(delta.thinking)
                return {"reasoning_content": delta.thinking}
            case "signature_delta":
                opened.signature.append(delta.signature)
            case "citations_delta" if delta.citation is not None:
                opened.cited.append(delta.citation)
            case _:
                pass
        return {}

    def _close(self, index: int) -> Iterator[Object]:
        """The parts of a block that are only sent when it is complete."""
        opened = self._blocks.pop(index, None)
        if opened is None:
            raise UpstreamInvalidResponse.out_of_order("content_block_stop")
        block = opened.block
        if opened.call >= 0:
            if not opened.json:  # the API sends no delta for empty arguments; OpenAI's have to be JSON
                yield self._call(opened, {}, function={"arguments": to_json(block.input).decode()})
        elif block.type in THOUGHTS:
            yield self._chunk({"thinking_blocks": [opened.whole()]})
        elif block.type != "text":
            yield self._chunk({"other_blocks": [opened.whole()]})
        elif opened.cited:
            links = annotations(opened.cited, opened.start, self._length)
            yield self._chunk({"citations": opened.cited, **({"annotations": links} if links else {})})
        if opened.unread and block.type in {"text", "tool_use"}:  # whose unread deltas are not sent otherwise
            yield self._chunk({"other_blocks": [opened.whole()]})

    def _update_message(self, event: Event) -> Iterator[Object]:
        if event.usage is not None:
            self._count(event.usage)
        if event.delta is not None and event.delta.stop_reason is not None:
            self._reason, self._details = event.delta.stop_reason, event.delta.stop_details
            self._stopped_by = event.delta.stop_sequence
        if event.delta is not None and event.delta.container is not None:
            self._container = event.delta.container
        if event.delta is not None and event.delta.extras:
            updates: Object = {}
            place(event.delta.extras, updates, _DELTA)
            yield self._chunk(updates)

    def _end(self) -> Iterator[Object]:
        for index in [*self._blocks]:  # some servers that only resemble the API's send no `content_block_stop`
            yield from self._close(index)
        declined = refusal(self._reason, self._details)
        if declined:
            yield self._chunk({"refusal": declined})
        if self._reason is not None:
            yield self._last()
        if self._usage.is_known:
            yield {**self._head, "choices": [], "usage": usage(self._usage)}
        self.complete = True

    def _last(self) -> Object:
        """The finish reason, with the API's own fields about it."""
        more = native(self._reason) | beside(stop_sequence=self._stopped_by, stop_details=details(self._details))
        last = self._chunk({}, finish(self._reason), **more)
        return last | beside(container=self._container)

    def _count(self, counts: Usage) -> None:
        """Counts are cumulative, and an omitted one is unchanged: docs.anthropic.com "Streaming messages"."""
        counted = {name: value for name in Usage.model_fields if (value := getattr(counts, name)) is not None}
        self._usage = self._usage.model_copy(update=counted | (counts.model_extra or {}))

    def _text(self, text: str) -> Object:
        self._length += len(text)
        return self._chunk({"content": text})

    def _call(self, opened: _OpenBlock, extras: Object, **fields: object) -> Object:
        call = {"index": opened.call, **fields}
        place(extras, call, _CALL)
        return self._chunk({"tool_calls": [call]})

    def _chunk(self, delta: Object, reason: str | None = None, **more: object) -> Object:
        if not self._head:
            raise UpstreamInvalidResponse.out_of_order("message_start")
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason, **more}
        return {**self._head, "choices": [choice]}


def _input(json: str) -> Object:
    """The joined JSON text as the block's `input`; unchanged in `input_json` if it is not an object."""
    try:
        value = read_json(json.encode())
    except ValueError:
        return {"input_json": json}
    return {"input": value} if isinstance(value, dict) else {"input_json": json}
