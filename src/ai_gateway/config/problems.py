"""Invalid configuration: one error with every problem, none of which shows a secret."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

_MAX_SHOWN_LENGTH = 60
# An unbroken run of letters and digits, as in keys and tokens.
_KEY_LIKE = re.compile(
    r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_+=-]{20,}|(sk|pk|gsk|xai|hf|ghp|AIza|eyJ)[A-Za-z0-9_.-]*-?.+"
)


class SettingsError(Exception):
    """The configuration is invalid. `problems` has one line each, none of which shows a secret."""

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


def shown(value: object) -> str:
    """A value of a setting for a message; empty for what looks like a key, or is not a single value.

    Credentials and query of a URL are left out, since they may be keys.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        return ""
    text = value
    if "://" in text or "@" in text:
        text = without_credentials(text)
    if len(text) > _MAX_SHOWN_LENGTH:
        text = f"{text[:_MAX_SHOWN_LENGTH]}..."
    return "" if _KEY_LIKE.fullmatch(text.strip()) else repr(text)


def without_credentials(url: str) -> str:
    """Scheme, host and path of a URL; the rest may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme and host and "@" not in parts.path else "..."
