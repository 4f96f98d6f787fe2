"""A work budget per request, so that no schema or pattern can block the event loop."""

_STEPS = 400_000  # about half a second


class Work:
    """A budget of steps of about a microsecond, shared by everything that is done for one request."""

    def __init__(self, steps: int = _STEPS) -> None:
        self._left = steps

    @property
    def is_over(self) -> bool:
        return self._left <= 0

    def spend(self, steps: int) -> bool:
        """Whether the budget is not used up."""
        self._left -= steps
        return self._left > 0
