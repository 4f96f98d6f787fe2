"""How many requests may be in flight, and how much of their bodies; those beyond are told at once to come back."""

from typing import Self

from ai_gateway.errors import Overloaded
from ai_gateway.observability.metrics import Event, count


class Admission:
    """A count with a top. Entered around a whole request, so that a stream counts until its end.

    Nothing waits here: a queue would only hide that the callers are too many, and answer those who have left.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside = 0

    def __enter__(self) -> Self:
        if self.inside >= self.most:
            count(Event.OVERLOAD, "requests")
            raise Overloaded
        self.inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.inside -= 1


class BodyRoom:
    """Room for the bodies of all requests in flight, in bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class Share:
    """What one request holds of the room, from its first byte until `leave`, because what was made of it lives on."""

    __slots__ = ("_room", "size")

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self.size = 0

    def expect(self, size: int) -> None:
        """Raise Overloaded if so much would not fit now. Nothing is kept free for who has only announced it."""
        if not self.fits(size):
            count(Event.OVERLOAD, "bodies")
            raise Overloaded("request bodies", headers={"connection": "close"})

    def fits(self, size: int) -> bool:
        """Whether so much more would fit now."""
        return self._room.held + size <= self._room.most

    def take(self, size: int) -> None:
        """Hold so much more. Raises Overloaded."""
        self.expect(size)
        self._room.held += size
        self.size += size

    def weigh(self, size: int) -> None:
        """Hold so much more, but never more than all there is: alone, any request has room. Raises Overloaded."""
        self.take(min(size, self._room.most - self.size))

    def leave(self) -> None:
        """Give everything back."""
        self._room.held -= self.size
        self.size = 0
