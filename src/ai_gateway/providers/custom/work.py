"""A work budget per request, so that no request can block the event loop."""

from ai_gateway.errors import UnsupportedValue

_STEPS = 400_000  # about half a second


class Work:
    """A budget of steps of about a microsecond, counted by what is touched and shared by all that one request needs.

    What takes time in proportion to the request's size is free; charged is what multiplies: choices, log probabilities,
    and whatever is looked at more than once. `subject` names the parameter that the work is for.
    """

    def __init__(self, steps: int = _STEPS, subject: str = "messages") -> None:
        self._left = steps
        self.subject = subject

    def spend(self, steps: int) -> None:
        """Charge so many steps. Raises UnsupportedValue that names the subject once the budget is used up."""
        self._left -= steps
        if self._left < 0:
            raise UnsupportedValue(
                f"The built-in provider does a limited amount of work for one request, and '{self.subject}' asks for "
                "more: make it smaller, or send several requests.",
                param=self.subject,
            )
