"""A work budget per request, so that no request can block the event loop."""

from ai_gateway.errors import UnsupportedValue

_STEPS = 400_000  # about half a second


class Work:
    """A budget of steps of about a microsecond, shared by all work for one request.

    Work in proportion to the request's size is free. Charged is what multiplies: choices, log probabilities, and data
    that is visited more than once. `subject` names the parameter that the work is for.
    """

    def __init__(self, steps: int = _STEPS, subject: str = "messages") -> None:
        self._left = steps
        self.subject = subject

    def spend(self, steps: int) -> None:
        """Charge steps. Raises UnsupportedValue with the subject once the budget is exhausted."""
        self._left -= steps
        if self._left < 0:
            raise UnsupportedValue(
                f"The built-in provider does a limited amount of work for one request, and '{self.subject}' asks for "
                "more: make it smaller, or send several requests.",
                param=self.subject,
            )
