"""Common parts of the deliveries of alerts."""

PATIENCE_S = 10.0
"""The time limit of one attempt, in seconds."""


class NotDelivered(Exception):
    """The delivery failed, or its success is unknown. The message is for the operator.

    `is_final` says that another attempt cannot succeed.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final
