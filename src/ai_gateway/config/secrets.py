"""Secrets from variables, or from files that variables name, as container platforms mount them."""

from collections.abc import Mapping
from pathlib import Path

from ai_gateway.config.problems import shown

FILE_SUFFIX = "_FILE"
_MAX_FILE_BYTES = 64 * 1024


def read_secret(variables: Mapping[str, str], name: str, problems: list[str]) -> str | None:
    """The secret in the variable, or in the file that `<name>_FILE` names; None without either.

    A file is read each time, so that a reload gets a rotated secret. White space around a secret is removed.
    """
    value, path = variables.get(name), variables.get(f"{name}{FILE_SUFFIX}")
    if path is None:
        return value
    if value is not None:
        problems.append(f"{name} and {name}{FILE_SUFFIX} are both set: set one of them")
        return value
    try:
        return secret_in(Path(path))
    except ValueError as error:
        problems.append(f"{name}{FILE_SUFFIX}: {shown(path) or 'its file'} {error}")
        return None


def secret_in(path: Path) -> str:
    """The secret in a file. Raises ValueError that says what is wrong with it."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        text = content.decode("utf-8-sig").strip()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not text or len(content) > _MAX_FILE_BYTES:
        raise ValueError("is empty" if not text else "is too large for a secret")
    return text
