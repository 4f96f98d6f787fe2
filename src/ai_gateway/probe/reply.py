"""What the upstream answered, and lenient looks into it, so that one fault does not turn every check red."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, override

from ai_gateway.config.constants import UPSTREAM_MAX_EVENT
from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.probe.verdict import Failed
from ai_gateway.providers.http.sse import EventParser

_DONE = b"[DONE]"


class Nothing(Enum):
    """What `dig` finds where nothing is; a null that was sent is None."""

    ABSENT = "absent"


ABSENT: Final = Nothing.ABSENT


def dig(value: object, *path: str | int) -> object:
    """What stands at the path, or ABSENT."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step, ABSENT)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return ABSENT
    return value


def given(value: object, *path: str | int) -> bool:
    """Whether anything but null stands at the path."""
    return dig(value, *path) not in (None, ABSENT)


def items(value: object, *path: str | int) -> list[object]:
    """The items of the list at the path; none if there is no list."""
    found = dig(value, *path)
    return found if isinstance(found, list) else []


def count(value: object, *path: str | int) -> int:
    """The whole number at the path; -1 if there is none."""
    found = dig(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else -1


def words(value: object, *path: str | int) -> str:
    """The string at the path; empty if there is none."""
    found = dig(value, *path)
    return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Names of headers are matched in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def value(self) -> object:
        """The body as JSON."""
        try:
            return read_json(self.body)
        except ValueError as error:
            raise Failed(f"a JSON body ({error})", self) from None

    def events(self) -> "Events":
        """The body as server-sent events."""
        parser = EventParser(UPSTREAM_MAX_EVENT)
        try:
            found = list(parser.feed(self.body))
        except UpstreamInvalidResponse:
            raise Failed("events of at most 1 MiB", self) from None
        if not found:
            raise Failed("a stream of server-sent events", self)
        return Events(self, tuple(found))

    @override
    def __str__(self) -> str:
        return f"{self.status} {self.media_type or 'without content type'}: {self.body.decode(errors='replace')}"


@dataclass(frozen=True, slots=True)
class Events:
    """A stream that has ended, event by event."""

    reply: Reply
    data: tuple[bytes, ...]

    @property
    def terminators(self) -> list[int]:
        """Where `[DONE]` stands."""
        return [at for at, data in enumerate(self.data) if data == _DONE]

    def chunks(self) -> list[object]:
        """The JSON of every event but `[DONE]`."""
        try:
            return [read_json(data) for data in self.data if data != _DONE]
        except ValueError as error:
            raise Failed(f"JSON in every event ({error})", self.reply) from None

    def choices(self, index: int = 0) -> list[object]:
        """What the chunks say of one choice, in order."""
        return [
            choice
            for chunk in self.chunks()
            for choice in items(chunk, "choices")
            if dig(choice, "index") in (index, ABSENT)
        ]

    def text(self, index: int = 0) -> str:
        """The answer that the pieces of one choice make, of chat or of a legacy completion."""
        return "".join(words(one, "delta", "content") + words(one, "text") for one in self.choices(index))
