"""The file of logged bodies, written by a background thread that redacts keys.

The file is rotated at its maximum size: it gets the suffix `.1`, and replaces the former one.
"""

import fcntl
import json
import os
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

from ai_gateway.observability.background_thread import start_thread
from ai_gateway.observability.messages import events_of
from ai_gateway.observability.metrics import Event, count
from ai_gateway.observability.printable import printable
from ai_gateway.redaction import redact, redact_all

MAX_SIZE = 100 * 2**20
_MAX_PENDING = 8 * 2**20
_WITHHELD = "[withheld: a key is spread over it]"
_TEXT = ("json", "text/", "event-stream", "ndjson", "xml", "urlencoded")
_log = structlog.get_logger(__name__)


class Body:
    """A body to be written: the captured part of `size` bytes, its media type, and whether it was cut."""

    __slots__ = ("content", "is_cut", "media", "size")

    def __init__(self, content: bytes, media: str, size: int, *, is_cut: bool) -> None:
        self.content, self.media, self.size, self.is_cut = content, media, size, is_cut

    def fields(self) -> dict[str, object]:
        """The logged fields: the body, or only its media type and size if it is not text, such as speech or a form."""
        found: dict[str, object] = {"media": redact(self.media[:256]), "size": self.size}
        if self.is_cut:
            found["cut"] = True
        kind = self.media.lower()
        if self.size and (not kind or any(each in kind for each in _TEXT)):
            found["body"] = _redacted(self)
        return found


def _redacted(body: Body) -> str:
    if body.media and any(redact(text) != text for text in texts_of_events(body.media, body.content)):
        return _WITHHELD
    return redact(body.content.decode("utf-8", "backslashreplace"))


def texts_of_events(media: str, content: bytes) -> list[str]:
    """The texts of a stream's events, joined by their place in the events. Empty for a whole body.

    A key that a model repeats is split into tokens, none of which would be redacted.
    """
    places: dict[tuple[object, ...], list[str]] = {}
    count_events = 0
    for event in events_of(media, content):
        count_events += 1
        _collect(event, (), places)
    return ["".join(texts) for texts in places.values() if len(texts) > 1] if count_events > 1 else []


def _collect(value: object, place: tuple[object, ...], places: dict[tuple[object, ...], list[str]]) -> None:
    if isinstance(value, str):
        places.setdefault(place, []).append(value)
    elif isinstance(value, dict):
        own = (*place, value.get("index")) if isinstance(value.get("index"), int) else place
        for name, inner in value.items():
            _collect(inner, (*own, name), places)
    elif isinstance(value, list) and len(place) < 40:  # deeper values are not logged
        for inner in value:
            _collect(inner, (*place, "*"), places)


class BodyFile:
    """Appends a line for each record. Records beyond the memory limit for pending ones are dropped and counted.

    Workers share the file: each line is appended by one write.
    """

    def __init__(self, path: Path, max_size: int = MAX_SIZE, max_pending: int = _MAX_PENDING) -> None:
        self.path = path
        self._max_size = max_size
        self._max_pending = max_pending
        self._pending: deque[tuple[Mapping[str, object], Body, Body]] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = self._failing = False
        self._fd: int | None = None

    def add(self, record: Mapping[str, object], request: Body, reply: Body) -> None:
        """Queue a record with its bodies."""
        size = len(request.content) + len(reply.content) + 1024
        with self._changed:
            if self._held + size > self._max_pending:
                count(Event.BODY_DROPPED)
                return
            self._pending.append((record, request, reply))
            self._held += size
            if self._thread is None:
                self._thread = start_thread(self._run, "writer of bodies")
            self._changed.notify_all()

    def close(self, within_s: float) -> None:
        """Write pending records, for at most this long."""
        with self._changed:
            self._closing, thread = True, self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(within_s)

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            record, request, reply = taken
            try:
                self._write(_line(record, request, reply))
            except Exception as error:  # a full disk, missing permissions, or a bug: the thread must keep running
                self._drop(error)
            else:
                self._failing = False
        if self._fd is not None:
            os.close(self._fd)

    def _next(self) -> tuple[Mapping[str, object], Body, Body] | None:
        with self._changed:
            while not self._pending:
                if self._closing:
                    return None
                self._changed.wait()
            taken = self._pending.popleft()
            self._held -= len(taken[1].content) + len(taken[2].content) + 1024
        return taken

    def _drop(self, error: Exception) -> None:
        with self._changed:  # several threads count
            count(Event.BODY_DROPPED)
        if not self._failing:
            _log.error("bodies are not written", file=str(self.path), error=str(error))
        self._failing = True

    def _write(self, line: bytes) -> None:
        fd = self._opened()
        written = os.write(fd, line)
        if written != len(line):  # the disk is full: remove the partial line, which would damage the next one
            with suppress(OSError):
                os.write(fd, b"\n")
            raise OSError("no space left")

    def _opened(self) -> int:
        """The current file: opened anew if it was moved away, rotated if it is too large."""
        if self._fd is not None and _is_at(self._fd, self.path):
            if os.fstat(self._fd).st_size < self._max_size:
                return self._fd
            fcntl.flock(self._fd, fcntl.LOCK_EX)  # only one worker rotates; closing the descriptor unlocks
            if _is_at(self._fd, self.path):
                os.replace(self.path, f"{self.path}.1")
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._fd


def _is_at(fd: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    own = os.fstat(fd)
    return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)


def _line(record: Mapping[str, object], request: Body, reply: Body) -> bytes:
    fields = redact_all(record)
    assert isinstance(fields, dict)  # noqa: S101 - as it was
    line = {**fields, "request": request.fields(), "reply": reply.fields()}
    try:
        return printable(orjson.dumps(line)) + b"\n"
    except orjson.JSONEncodeError:  # a lone surrogate, from a media type
        return printable(json.dumps(line).encode()) + b"\n"
