"""Configuration that cannot be used: one error with every problem, none of which shows a secret."""

from collections.abc import Callable


class SettingsError(Exception):
    """The configuration cannot be used. `problems` has one line each, none of which shows a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def attempt[Result](problems: list[str], step: Callable[[], Result]) -> Result | None:
    """Take one step of several and collect its problems, so that those of all steps are reported together."""
    try:
        return step()
    except SettingsError as error:
        problems += error.problems
        return None
