"""A reply that is sent while it is made."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from pydantic import BaseModel


@dataclass(slots=True, frozen=True)
class Stream[Item: BaseModel]:
    """What a streaming operation answers. Whoever writes it to the client closes `items`, however the reply ends."""

    items: AsyncGenerator[Item]
