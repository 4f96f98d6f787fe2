"""How many requests may be in flight at once; those beyond are told at once to come back."""

from typing import Self

from ai_gateway.errors import Overloaded


class Admission:
    """A count with a top. Entered around a whole request, so that a stream counts until its end.

    Nothing waits here: a queue would only hide that the callers are too many, and answer those who have left.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside = 0
        self.refused = 0

    def __enter__(self) -> Self:
        if self.inside >= self.most:
            self.refused += 1
            raise Overloaded
        self.inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.inside -= 1
