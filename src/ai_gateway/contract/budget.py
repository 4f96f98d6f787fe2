"""Admission control: bounds on requests in flight and on bytes in use; beyond them, requests are refused at once."""

import sys
from typing import Literal, Self

from ai_gateway.errors import Overloaded, PayloadTooLarge
from ai_gateway.observability.metrics import Event, count


class Admission:
    """Limits the requests in flight. Entered around a whole request, so that a stream counts until its end.

    There is no queue: it would only hide overload, and serve clients that have disconnected.
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
    """A charge exceeds a byte budget."""


class ByteBudget:
    """A byte budget. A charge counts until it is released."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.exceeded = False
        """Whether any charge was refused."""

    def fits(self, size: int) -> bool:
        """Whether a charge of this size fits now."""
        return self.used + size <= self.limit

    def charge(self, size: int) -> None:
        """Charge bytes. Raises BudgetExceeded."""
        if not self.fits(size):
            self.exceeded = True
            raise BudgetExceeded
        self.used += size

    def release(self, size: int) -> None:
        """Release charged bytes."""
        self.used -= size


class Loan:
    """A charge for the duration of a `with` block."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    def charge(self, size: int) -> None:
        """Charge more bytes. Raises BudgetExceeded."""
        self._budget.charge(size)
        self.size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Release all charges."""
        self._budget.release(self.size)
        self.size = 0


type Held = Literal["request bodies", "replies"]

# Smaller translations are not charged beside the body's bytes: MAX_IN_FLIGHT bounds them well enough.
UNCHARGED = 64 * 1024
_OBJECT_BYTES = 512  # a parsed object, with the model that is made of it
_VALUE_BYTES = 32


class Allocation:
    """The bytes that one request is charged for body, translations and reply, of BODIES_MAX_SIZE, until it ends.

    Objects that are parsed from them are included. A charge that does not fit raises Overloaded.
    """

    __slots__ = ("_budget", "size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    def fits(self, size: int) -> bool:
        """Whether a charge of this size fits now."""
        return self._budget.fits(size)

    def reserve(self, size: int, of: Held = "request bodies") -> None:
        """Check that a charge fits now, without charging it: an announced body may never arrive."""
        if not self._budget.fits(size):
            count(Event.OVERLOAD, "bodies" if of == "request bodies" else of)
            raise Overloaded(of, headers={"connection": "close"} if of == "request bodies" else None)

    def charge(self, size: int, of: Held = "request bodies") -> None:
        """Charge bytes."""
        budget = self._budget
        if budget.used + size > budget.limit:
            self.reserve(size, of)
        budget.used += size
        self.size += size

    def charge_at_most(self, size: int, of: Held = "request bodies") -> None:
        """Charge bytes, but at most the whole budget: a single request always fits."""
        self.charge(min(size, self._budget.limit - self.size), of)

    def check_possible(self, size: int, problem: str) -> None:
        """Raise PayloadTooLarge for a size above the whole budget."""
        if size > self._budget.limit:
            raise PayloadTooLarge(problem)

    def charge_translation(self, size: int) -> None:
        """Charge a translated body. Raises PayloadTooLarge if it can never fit."""
        self.check_possible(size, "The body has more messages, calls and images than can be translated: send fewer.")
        if size > UNCHARGED:
            self.charge_at_most(size)

    def handed_over(self) -> "Allocation":
        """Move the charges to a new allocation, whose owner releases it."""
        other = Allocation(self._budget)
        other.size, self.size = self.size, 0
        return other

    def release(self) -> None:
        """Release all charges."""
        self._budget.used -= self.size
        self.size = 0


class Growth:
    """Charges for data that grows piece by piece, `per_byte` bytes for each: ahead, in few large steps."""

    __slots__ = ("_allocation", "_paid", "_per_byte", "_size")

    def __init__(self, allocation: Allocation, per_byte: int) -> None:
        self._allocation = allocation
        self._per_byte = per_byte
        self._size = 0
        self._paid = UNCHARGED

    def add(self, size: int) -> None:
        """Add a piece of this size. Raises Overloaded if it does not fit."""
        self._size += size
        while self._size > self._paid:
            self._allocation.charge(self._paid * self._per_byte, "replies")
            self._paid *= 2


def parsed_size(raw: bytes) -> int:
    """An estimate of the bytes that a reply's JSON takes when parsed, beside the JSON itself."""
    return raw.count(b"{") * _OBJECT_BYTES + raw.count(b",") * _VALUE_BYTES


def unbounded() -> Allocation:
    """An allocation without limit, for the gateway's own calls."""
    return Allocation(ByteBudget(sys.maxsize))
