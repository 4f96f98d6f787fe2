"""Replies, chunks and streams on their way from a provider to the client, with their original bytes."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

from pydantic import BaseModel

type Received[Model: BaseModel] = Model | bytes | dict[str, object]
"""A reply or chunk as a provider yields it: a model, the JSON that an upstream sent, or a mapping of fields."""


class Done(Enum):
    """Yielded by a provider's stream when its upstream has sent the terminator."""

    DONE = "done"


DONE: Final = Done.DONE


class Run(bytes):
    """So many delta events that arrived together and may be relayed with their framing, and the size of their texts."""

    events: int
    text_size: int


class Pieces(list[bytes]):
    """What arrived together, in pieces of which each is most probably one server-sent event with its framing.

    The first one begins an event. `parse` takes what begins with one, and gives the data of each event: for a piece
    that turns out to be anything else, and all that follow it.
    """

    __slots__ = ("parse",)
    parse: Callable[[bytes], Iterable[bytes]]


# None of these is ever changed. They are not frozen because one is made for every packet or stream: see `Call`.


@dataclass(slots=True)
class Packet:
    """Events that arrived together: the JSON of each, or runs of them; or pieces, which have to be looked at."""

    events: Sequence[bytes]


class LastPacket(Packet):
    """The last one of a whole stream: its terminator has arrived, and nothing is left to read."""

    __slots__ = ()


type Arrived[Model: BaseModel] = Received[Model] | Packet | Done
"""The items of a provider's stream."""


class Item[Model: BaseModel](NamedTuple):
    """A reply or chunk. `raw` is its original JSON if that may be relayed; a changed model is an item without it."""

    model: Model
    raw: bytes | None = None


class Last[Model: BaseModel](Item[Model]):
    """The last chunk of a whole stream, which may leave together with the terminator."""

    __slots__ = ()


type Reply[Model: BaseModel] = Model | Item[Model]
"""A whole reply."""


@dataclass(slots=True)
class Verbatim:
    """Consecutive chunks to relay: the JSON of each, without line ends. None of them is a keep-alive.

    If they are framed, each has the framing of server-sent events.
    """

    items: Sequence[bytes]
    are_framed: bool = False


@dataclass(slots=True)
class Continued:
    """Continuations of a choice's texts, as the contents of JSON strings, still escaped.

    For each event one text under each of `names`, event after event. `call` is the index of the tool call that
    arguments belong to.
    """

    choice: int
    call: int | None
    names: Sequence[str]
    texts: Sequence[bytes]


@dataclass(slots=True)
class Framed:
    """Events of a client's wire, framed to be sent."""

    data: bytes


class LastFramed(Framed):
    """The last events of a stream, which may leave together with what ends it."""

    __slots__ = ()


@dataclass(slots=True)
class Together:
    """Items that arrived together, to be sent in one message."""

    items: Sequence[Item[Any] | Verbatim | Continued]


class LastTogether(Together):
    """The same with the last chunk of a whole stream among them."""

    __slots__ = ()


type Conformed[Chunk: BaseModel] = Item[Chunk] | Verbatim | Continued | Together
"""The items of a stream that conforms to the contract."""


def type_of(model: BaseModel) -> str:
    """The event name of an item on wires with named events: its `type`."""
    name = getattr(model, "type", None)
    return name if isinstance(name, str) else ""


@dataclass(slots=True)
class Stream[Model: BaseModel]:
    """The result of a streaming operation. The code that writes it to the client closes `items` in any case.

    `event` gives an item's event name, where events have names. `broken` turns an error's JSON into the framed end of a
    stream that fails after its head, for operations with an event of their own for that.
    """

    items: AsyncGenerator[Model | Item[Model] | Verbatim | Continued | Framed | Together]
    event: Callable[[BaseModel], str] = type_of
    broken: Callable[[bytes], bytes] | None = None


class Sink(Protocol):
    """Sends more of a reply's body at once; False if that is not possible now.

    `chunk` is the data with the framing of chunked coding (RFC 9112, section 7.1), where it has arrived so.
    """

    def __call__(self, data: bytes, chunk: bytes | None = None, /) -> bool: ...


@dataclass(slots=True, frozen=True)
class Content[Media: str]:
    """A reply that is not JSON, such as speech: bytes of a declared media type, whole or as a generator.

    The code that writes it closes the generator in any case.
    """

    media: Media
    data: bytes | AsyncGenerator[bytes] = field(repr=False)
