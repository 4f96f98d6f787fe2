"""A share of the requests in flight for each provider, so that one which hangs leaves places for the others."""

from ai_gateway.contract.call import Notes
from ai_gateway.errors import Overloaded
from ai_gateway.observability.metrics import Event, count


class Bulkhead:
    """One provider's share. A request holds its place until its end, a stream until its last byte.

    `answered` and `failed` are the notes of the last attempt that succeeded, and of the last that failed: what is known
    of a provider from its calls.
    """

    __slots__ = ("answered", "failed", "inside", "most", "provider")

    def __init__(self, provider: str, most: int) -> None:
        self.provider = provider
        self.most = most
        self.inside = 0
        self.answered: Notes | None = None
        self.failed: Notes | None = None

    def enter(self) -> None:
        """Take a place. Raises Overloaded; nobody waits here, as in front of the gateway."""
        if self.inside >= self.most:
            count(Event.OVERLOAD, "provider")
            raise Overloaded(f"requests for provider '{self.provider}' ({self.most})")
        self.inside += 1

    def leave(self) -> None:
        """Give it back."""
        self.inside -= 1
