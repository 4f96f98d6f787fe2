"""What all ways to deliver an alert have in common."""

PATIENCE_S = 10.0
"""How long one attempt may take, whatever the other side does."""


class NotDelivered(Exception):
    """It has not arrived, as far as anybody knows. The text is for the operator.

    `is_final` is for what another attempt cannot change.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final
