"""A chat's stream as the events of another wire: how each wire begins and ends, and what is the same for all."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Protocol

from pydantic import BaseModel

from ai_gateway.conform.chat_turn import ChatTurn
from ai_gateway.conform.turn import Parts
from ai_gateway.contract.budget import UNWEIGHED
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.stream import Continued, Framed, Item, Stream
from ai_gateway.errors import UpstreamStreamTruncated
from gateway_contract.openai import models

# What a text takes while its stream lasts: it is kept piece by piece for the events that tell it whole.
_PER_BYTE = 16


class Events(Parts, Protocol):
    """The automaton of a wire."""

    @property
    def has_begun(self) -> bool: ...


class ChatBridge(ABC):
    """One stream on its way to the client of one call. `feed` and `end` return what is to be sent."""

    def __init__(self, call: Call, events: Events, keeps: Collection[str] = ()) -> None:
        self.turn = ChatTurn(events, keeps)
        self._events = events
        self.call = call
        self._weighed = UNWEIGHED

    @abstractmethod
    def _begun(self, chunk: models.CreateChatCompletionStreamResponse) -> bytes:
        """What comes before every part. The chunk is the first."""

    @abstractmethod
    def _ended(self, finish: str) -> bytes:
        """What ends a whole stream. `finish` is chat's reason."""

    def _heard(self, chunk: models.CreateChatCompletionStreamResponse) -> None:  # noqa: B027 - not every wire does
        """Note what of a chunk is no part of its turn."""

    def broken(self, error: bytes) -> bytes:
        """What ends a stream that fails, given the JSON of the wire's error."""
        return EVENTS.framed(error, "error")

    def feed(self, item: Item[models.CreateChatCompletionStreamResponse] | Continued) -> bytes:
        """What a chunk says. Raises UpstreamInvalidResponse for what this wire has no events for."""
        if self.call.notes.text_bytes > self._weighed:
            self._weigh()
        if isinstance(item, Continued):
            return self.turn.continued(item)
        self._heard(item.model)
        written = b"" if self._events.has_begun else self._begun(item.model)
        return written + self.turn.feed(item.model)

    def preview(self, run: Continued) -> bytes | None:
        """What `feed` would return for these texts, without an effect until `commit`; None if it is not that simple."""
        if self.call.notes.text_bytes > self._weighed:
            return None
        return self.turn.preview(run)

    def commit(self) -> None:
        """What was previewed last is sent."""
        self.turn.commit()

    def end(self) -> bytes:
        """The end, behind what waited for it. Raises UpstreamStreamTruncated for a stream without one."""
        if self.turn.finish is None:
            raise UpstreamStreamTruncated.ended()
        return self.turn.end() + self._ended(self.turn.finish)

    def _weigh(self) -> None:
        """Have room for twice as much as there is. Raises Overloaded."""
        self.call.room.charge_at_most(self._weighed * _PER_BYTE, "replies")
        self._weighed *= 2


def bridged[Event: BaseModel](
    chunks: AsyncGenerator[Any],
    bridge: ChatBridge,
    answered: Callable[[], None] = lambda: None,
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Stream[Event]:
    """The chunks as the bridge's events. Texts that they only go on with take a shorter way.

    `answered` is called once it is known who answers, and errors are raised `within` a context of the wire's own.
    """
    return Stream(_events(chunks, bridge, answered, within), broken=bridge.broken)


async def _events(
    chunks: AsyncGenerator[Any],
    bridge: ChatBridge,
    answered: Callable[[], None],
    within: Callable[[], AbstractContextManager[None]],
) -> AsyncGenerator[Framed]:
    is_answered = False
    with within():
        async with aclosing(chunks) as items:
            async for item in items:
                if not is_answered:
                    answered()
                    is_answered = True
                if written := bridge.feed(item):
                    yield Framed(written)
        await bridge.call.settle()  # before the client can have the end, and ask for the next one
        yield Framed(bridge.end())
