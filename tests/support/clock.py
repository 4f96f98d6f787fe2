"""Time that passes when a test says so."""


class Clock:
    """What is given a clock reads `now`, which stands still."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
