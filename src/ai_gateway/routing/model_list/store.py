"""Stores the last valid model list on disk, so that a restart does not depend on the list's host."""

import hashlib
import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ai_gateway.config.constants import cache_dir
from ai_gateway.routing.model_list.parse import InvalidList, ModelList, parse_list

_FORMAT = 1
MAX_LIST_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredList:
    """A list, and when it was fetched (seconds since the epoch)."""

    models: ModelList
    fetched_at: float


class ListStore:
    """One file, bound to the URL of the list, so that its content is never used for another URL."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self._origin = _digest(url)

    def load(self) -> StoredList | None:
        """The stored list; None if there is none. Raises InvalidList for a file that cannot be used."""
        try:
            with self.path.open("rb") as file:
                head = json.loads(file.readline(1024))
                raw = file.read(MAX_LIST_BYTES + 1)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InvalidList(f"it cannot be read ({type(error).__name__})") from None
        if not isinstance(head, dict) or head.get("format") != _FORMAT or head.get("sha256") != _hash(raw):
            raise InvalidList("it is damaged")
        if head.get("origin") != self._origin:
            return None
        fetched_at = head.get("fetched_at")
        if not isinstance(fetched_at, int | float) or not 0 <= fetched_at <= time.time() + 86_400:
            raise InvalidList("it is damaged")
        return StoredList(parse_list(raw), float(fetched_at))

    def save(self, raw: bytes, fetched_at: float) -> None:
        """Replace the file atomically, so that a crash leaves the old or the new one. Raises OSError."""
        head = {"format": _FORMAT, "origin": self._origin, "fetched_at": fetched_at, "sha256": _hash(raw)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + raw)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise


def default_path(url: str) -> Path | None:
    """The path unless MODEL_LIST_CACHE sets one; None for a user without a home directory."""
    place = cache_dir()
    return place / f"model-list-{_digest(url)[:12]}.json" if place is not None else None


def _digest(url: str) -> str:
    return _hash(url.encode())


def _hash(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
