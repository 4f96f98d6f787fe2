"""How many requests may be in flight, and how many bytes may be in use; what is more is refused at once."""

import sys
from typing import Literal, Self

from ai_gateway.errors import Overloaded, PayloadTooLarge
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


class BudgetExceeded(Exception):
    """More bytes were charged to a budget than it has left."""


class ByteBudget:
    """Bytes that may be in use at once. What is charged stays in use until it is released."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.exceeded = False
        """Whether anything was ever refused."""

    def fits(self, size: int) -> bool:
        """Whether so much more would fit now."""
        return self.used + size <= self.limit

    def charge(self, size: int) -> None:
        """Use so much more. Raises BudgetExceeded."""
        if not self.fits(size):
            self.exceeded = True
            raise BudgetExceeded
        self.used += size

    def release(self, size: int) -> None:
        """Use so much less."""
        self.used -= size


class Loan:
    """What is used of a budget for a while: given back at the end of the block."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    def charge(self, size: int) -> None:
        """Use so much more. Raises BudgetExceeded."""
        self._budget.charge(size)
        self.size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give everything back."""
        self._budget.release(self.size)
        self.size = 0


type Held = Literal["request bodies", "replies"]

# What is smaller is not weighed, beside a body's own bytes: as many as may be in flight at once have room anyway.
UNWEIGHED = 64 * 1024
_OBJECT_BYTES = 512  # a parsed object, with the model that is made of it
_VALUE_BYTES = 32


class Allocation:
    """What one request uses of the budget for bodies, translations and replies together, until the request's end.

    What was made of them lives on as long. What does not fit raises Overloaded.
    """

    __slots__ = ("_budget", "size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    def fits(self, size: int) -> bool:
        """Whether so much more would fit now."""
        return self._budget.fits(size)

    def reserve(self, size: int, of: Held = "request bodies") -> None:
        """Check that so much more fits now. Nothing is kept free for a body that is only announced."""
        if not self._budget.fits(size):
            count(Event.OVERLOAD, "bodies" if of == "request bodies" else of)
            raise Overloaded(of, headers={"connection": "close"} if of == "request bodies" else None)

    def charge(self, size: int, of: Held = "request bodies") -> None:
        """Use so much more."""
        budget = self._budget
        if budget.used + size > budget.limit:
            self.reserve(size, of)
        budget.used += size
        self.size += size

    def charge_at_most(self, size: int, of: Held = "request bodies") -> None:
        """Use so much more, but never more than all there is: alone, any request has room."""
        self.charge(min(size, self._budget.limit - self.size), of)

    def check_possible(self, size: int, problem: str) -> None:
        """Raise PayloadTooLarge for what can never fit."""
        if size > self._budget.limit:
            raise PayloadTooLarge(problem)

    def charge_translation(self, size: int) -> None:
        """Use so much more for what a body is translated to. Raises PayloadTooLarge if there can never be room."""
        self.check_possible(size, "The body has more messages, calls and images than can be translated: send fewer.")
        if size > UNWEIGHED:
            self.charge_at_most(size)

    def handed_over(self) -> "Allocation":
        """What is used here, as the use of somebody else, who gives it back."""
        other = Allocation(self._budget)
        other.size, self.size = self.size, 0
        return other

    def release(self) -> None:
        """Give everything back."""
        self._budget.used -= self.size
        self.size = 0


class Growth:
    """Charges for what grows piece by piece, with so many bytes for each of it: ahead, and seldom."""

    __slots__ = ("_paid", "_per_byte", "_room", "_size")

    def __init__(self, room: Allocation, per_byte: int) -> None:
        self._room = room
        self._per_byte = per_byte
        self._size = 0
        self._paid = UNWEIGHED

    def add(self, size: int) -> None:
        """There is so much more. Raises Overloaded if there is no room for it."""
        self._size += size
        while self._size > self._paid:
            self._room.charge(self._paid * self._per_byte, "replies")
            self._paid *= 2


def parsed_size(raw: bytes) -> int:
    """About how much is made of a reply's JSON, beside its bytes."""
    return raw.count(b"{") * _OBJECT_BYTES + raw.count(b",") * _VALUE_BYTES


def unbounded() -> Allocation:
    """For calls that the gateway makes on its own behalf."""
    return Allocation(ByteBudget(sys.maxsize))
