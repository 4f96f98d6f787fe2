"""How many requests may be in flight, and how many bytes may be in use; what is more is refused at once."""

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


class Allocation:
    """What one request uses of the budget for bodies, from its first byte until its end: what was made of it lives on.

    What does not fit raises Overloaded.
    """

    __slots__ = ("_budget", "size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    def fits(self, size: int) -> bool:
        """Whether so much more would fit now."""
        return self._budget.fits(size)

    def reserve(self, size: int) -> None:
        """Check that so much more fits now. Nothing is kept free for a body that is only announced."""
        if not self._budget.fits(size):
            count(Event.OVERLOAD, "bodies")
            raise Overloaded("request bodies", headers={"connection": "close"})

    def charge(self, size: int) -> None:
        """Use so much more."""
        self.reserve(size)
        self._budget.charge(size)
        self.size += size

    def charge_at_most(self, size: int) -> None:
        """Use so much more, but never more than all there is: alone, any request has room."""
        self.charge(min(size, self._budget.limit - self.size))

    def release(self) -> None:
        """Give everything back."""
        self._budget.release(self.size)
        self.size = 0
