"""What handlers answer with beside models: replies that are sent while they are made, and replies that are no JSON."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from pydantic import BaseModel


def type_of(item: BaseModel) -> str:
    """The name of an item's event on wires whose events have one: its `type`."""
    name = getattr(item, "type", None)
    return name if isinstance(name, str) else ""


@dataclass(slots=True, frozen=True)
class Stream[Item: BaseModel]:
    """What a streaming operation answers. Whoever writes it to the client closes `items`, however the reply ends.

    `event` names each item, where the operation's events have names.
    """

    items: AsyncGenerator[Item]
    event: Callable[[BaseModel], str] = type_of


@dataclass(slots=True, frozen=True)
class Content[Media: str]:
    """A reply that is no JSON, such as speech: bytes of a type that the contract declares, whole or as they are made.

    Whoever writes it closes a generator of `data`, however the reply ends.
    """

    media: Media
    data: bytes | AsyncGenerator[bytes] = field(repr=False)
