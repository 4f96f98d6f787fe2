"""What goes from a provider through the gateway to a client: replies, chunks, and the bytes they came in."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from pydantic import BaseModel

type Received[Model: BaseModel] = Model | bytes | dict[str, object]
"""A reply or chunk as a provider has it: of its contract's model, as the JSON an upstream sent, or made as fields."""


class Done(Enum):
    """What a provider's stream yields where its upstream has declared the stream to be over."""

    DONE = "done"


DONE: Final = Done.DONE


class Run(bytes):
    """Events that arrived together and may go on as they are, with all that stands around them."""


@dataclass(slots=True, frozen=True)
class Packet:
    """Events that arrived together: the JSON of each, or runs of them."""

    events: Sequence[bytes]


type Arrived[Model: BaseModel] = Received[Model] | Packet | Done
"""What a provider's stream yields."""


class Item[Model: BaseModel](NamedTuple):
    """A reply or chunk. `raw` is its JSON as it came, if it may go out so: whoever changes the model leaves it out."""

    model: Model
    raw: bytes | None = None


type Reply[Model: BaseModel] = Model | Item[Model]
"""A whole reply."""


@dataclass(slots=True, frozen=True)
class Verbatim:
    """Chunks that go out as they came, one after the other: the JSON of each, without line ends.

    None of them is a sign of life.
    """

    items: Sequence[bytes]


@dataclass(slots=True)  # never changed, but made for every packet of a translated stream: see `Call`
class Continued:
    """Texts that a choice only goes on with, as the insides of JSON strings.

    For each event one text under each of `names`, event after event. `call` is the index of the tool call that
    arguments belong to.
    """

    choice: int
    call: int | None
    names: Sequence[str]
    texts: Sequence[bytes]


@dataclass(slots=True, frozen=True)
class Framed:
    """Events of a client's wire with all that stands around them, as they go out."""

    data: bytes


def type_of(model: BaseModel) -> str:
    """The name of an item's event on wires whose events have one: its `type`."""
    name = getattr(model, "type", None)
    return name if isinstance(name, str) else ""


@dataclass(slots=True, frozen=True)
class Stream[Model: BaseModel]:
    """What a streaming operation answers. Whoever writes it to the client closes `items`, however the reply ends.

    `event` names each item, where the operation's events have names. `broken` makes of an error's JSON what ends a
    stream that fails after its head, frames included, where the operation has a form of its own for that.
    """

    items: AsyncGenerator[Model | Item[Model] | Verbatim | Continued | Framed]
    event: Callable[[BaseModel], str] = type_of
    broken: Callable[[bytes], bytes] | None = None


@dataclass(slots=True, frozen=True)
class Content[Media: str]:
    """A reply that is no JSON, such as speech: bytes of a type that the contract declares, whole or as they are made.

    Whoever writes it closes a generator of `data`, however the reply ends.
    """

    media: Media
    data: bytes | AsyncGenerator[bytes] = field(repr=False)
