"""Configuration that cannot be used: one error with every problem, none of which shows a secret."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

_LONGEST_SHOWN = 60
# Letters and digits in one piece: how keys and tokens look, with the usual prefixes or without.
_KEY_LIKE = re.compile(
    r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_+=-]{20,}|(sk|pk|gsk|xai|hf|ghp|AIza|eyJ)[A-Za-z0-9_.-]*-?.+"
)


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


def shown(value: object) -> str:
    """A value of a setting as a message may contain it; empty for what looks like a key, or is no single value.

    Of a URL, credentials and query are left out, because people put keys there.
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
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[:_LONGEST_SHOWN]}..."
    return "" if _KEY_LIKE.fullmatch(text.strip()) else repr(text)


def without_credentials(url: str) -> str:
    """Scheme, host and path of a URL: what else it has may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme and host and "@" not in parts.path else "..."
