"""Bulkhead: a limit of requests in flight for each provider, so that a hanging one does not block the others."""

from ai_gateway.contract.call import Notes
from ai_gateway.errors import Overloaded
from ai_gateway.observability.metrics import Event, count


class Bulkhead:
    """One provider's limit. A request holds a permit until its end, a stream until its last byte.

    `answered` and `failed` are the notes of the last attempt that succeeded, and of the last that failed.
    """

    __slots__ = ("answered", "failed", "in_flight", "limit", "provider")

    def __init__(self, provider: str, limit: int) -> None:
        self.provider = provider
        self.limit = limit
        self.in_flight = 0
        self.answered: Notes | None = None
        self.failed: Notes | None = None

    def acquire(self) -> None:
        """Take a permit. Raises Overloaded at once: there is no queue."""
        if self.in_flight >= self.limit:
            count(Event.OVERLOAD, "provider")
            raise Overloaded(f"requests for provider '{self.provider}' ({self.limit})")
        self.in_flight += 1

    def release(self) -> None:
        """Release a permit."""
        self.in_flight -= 1
