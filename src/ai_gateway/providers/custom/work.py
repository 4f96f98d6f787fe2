"""How much may be done for one request: whoever writes schemas must not be able to stop the clock for others."""

_STEPS = 400_000  # about half a second


class Work:
    """A purse of steps, a step being about a microsecond. Everything done for one request spends from the same one."""

    def __init__(self, steps: int = _STEPS) -> None:
        self._left = steps

    @property
    def is_over(self) -> bool:
        return self._left <= 0

    def spend(self, steps: int) -> bool:
        """Whether there was still something left to spend."""
        self._left -= steps
        return self._left > 0
