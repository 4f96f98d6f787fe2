"""Bridges a chat stream to the events of another wire: the part that all wires share."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Protocol

from pydantic import BaseModel

from ai_gateway.conform.chat_turn import ChatTurn
from ai_gateway.conform.turn import Parts
from ai_gateway.contract.budget import UNCHARGED
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.stream import Continued, Framed, Item, LastFramed, LastTogether, Stream, Together
from ai_gateway.errors import UpstreamStreamTruncated
from gateway_contract.openai import models

# Bytes of memory for each byte of text, whose pieces are kept for the events with the whole text.
_PER_BYTE = 16


class Events(Parts, Protocol):
    """The event automaton of a wire."""

    @property
    def has_begun(self) -> bool: ...


class ChatBridge(ABC):
    """One stream to the client of one call. `feed` and `end` return what has to be sent."""

    def __init__(self, call: Call, events: Events, keeps: Collection[str] = ()) -> None:
        self.turn = ChatTurn(events, keeps)
        self._events = events
        self.call = call
        self._charged = UNCHARGED

    @abstractmethod
    def _begun(self, chunk: models.CreateChatCompletionStreamResponse) -> bytes:
        """The events before all parts. The chunk is the first."""

    @abstractmethod
    def _ended(self, finish: str) -> bytes:
        """The events that end a whole stream. `finish` is the chat's finish reason."""

    def _read_extras(self, chunk: models.CreateChatCompletionStreamResponse) -> None:  # noqa: B027 - not every wire does
        """Read the fields of a chunk that are not part of its turn."""

    def broken(self, error: bytes) -> bytes:
        """The events that end a stream that fails, given the JSON of the wire's error."""
        return EVENTS.framed(error, "error")

    def feed(self, item: Item[models.CreateChatCompletionStreamResponse] | Continued) -> bytes:
        """The events for a chunk. Raises UpstreamInvalidResponse for content that this wire cannot express."""
        if self.call.notes.text_bytes > self._charged:
            self._reserve_memory()
        if isinstance(item, Continued):
            return self.turn.continued(item)
        self._read_extras(item.model)
        written = b"" if self._events.has_begun else self._begun(item.model)
        return written + self.turn.feed(item.model)

    def preview(self, run: Continued) -> bytes | None:
        """The result of `feed` for these texts, without an effect until `commit`; None if it needs `feed`."""
        if self.call.notes.text_bytes > self._charged:
            return None
        return self.turn.preview(run)

    def commit(self) -> None:
        """Apply the last preview, which has been sent."""
        self.turn.commit()

    def end(self) -> bytes:
        """The last events. Raises UpstreamStreamTruncated for a stream without a finish reason."""
        if self.turn.finish is None:
            raise UpstreamStreamTruncated.ended()
        return self.turn.end() + self._ended(self.turn.finish)

    def _reserve_memory(self) -> None:
        """Reserve memory for twice the present text. Raises Overloaded."""
        self.call.allocation.charge_at_most(self._charged * _PER_BYTE, "replies")
        self._charged *= 2


def bridged[Event: BaseModel](
    chunks: AsyncGenerator[Any],
    bridge: ChatBridge,
    answered: Callable[[], None] = lambda: None,
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Stream[Event]:
    """The chunks as the bridge's events. Continuations of texts take a shorter path.

    `answered` is called once the answering provider is known; errors are raised `within` a context of the wire.
    """
    return Stream(_events(chunks, bridge, answered, within), broken=bridge.broken)


async def _events(
    chunks: AsyncGenerator[Any],
    bridge: ChatBridge,
    answered: Callable[[], None],
    within: Callable[[], AbstractContextManager[None]],
) -> AsyncGenerator[Framed]:
    is_answered = False
    written: list[bytes] = []
    with within():
        try:
            async with aclosing(chunks) as items:
                async for item in items:
                    if not is_answered:
                        answered()
                        is_answered = True
                    together: Sequence[Any] = item.items if isinstance(item, Together) else (item,)
                    for each in together:
                        written.append(bridge.feed(each))  # noqa: PERF401 - what came before a failure is kept
                    if not isinstance(item, LastTogether):
                        data = b"".join(written)
                        written.clear()
                        if data:
                            yield Framed(data)
            await bridge.call.settle()  # before the client has the end and can send the next request
            written.append(bridge.end())
        except Exception:
            if data := b"".join(written):  # what came before the failure
                yield Framed(data)
            raise
        yield LastFramed(b"".join(written))
