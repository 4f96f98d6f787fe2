"""Everything about this process that is worth a metric, in one place: what happened so far, and how it stands now."""

from ai_gateway.contract.budget import Admission, ByteBudget
from ai_gateway.gateway import Gateway
from ai_gateway.observability.metrics import Event, counted
from ai_gateway.resilience.breaker import State


class Meters:
    """Read as often as you like: each value is computed when it is read, and nothing is reset."""

    def __init__(self, gateway: Gateway, admission: Admission, bodies: ByteBudget) -> None:
        self._gateway = gateway
        self._admission = admission
        self._bodies = bodies

    def counts(self) -> dict[Event, dict[tuple[str, ...], int]]:
        """Each event's counts by its labels, which `Event` names."""
        return {event: counted(event) for event in Event}

    def breakers(self) -> dict[str, State]:
        """Each provider's breaker."""
        return {name: self._gateway.resilience.state(name) for name in self._gateway.registry.names}

    @property
    def requests_in_flight(self) -> int:
        """Requests that have not been answered to their end."""
        return self._admission.inside

    @property
    def body_bytes(self) -> int:
        """What their bodies use of the budget for bodies."""
        return self._bodies.used
