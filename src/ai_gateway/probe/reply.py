"""Responses with lenient accessors, so that one fault does not fail every check."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, override

from ai_gateway.contract.strict_json import read_json
from ai_gateway.probe.verdict import Failed
from ai_gateway.providers.http.sse import EventParser

_DONE = b"[DONE]"


class Nothing(Enum):
    """The value of `dig` for a missing path; a null in the response is None."""

    ABSENT = "absent"


ABSENT: Final = Nothing.ABSENT


def dig(value: object, *path: str | int) -> object:
    """The value at the path, or ABSENT."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step, ABSENT)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return ABSENT
    return value


def is_set(value: object, *path: str | int) -> bool:
    """Whether there is a value other than null at the path."""
    return dig(value, *path) not in (None, ABSENT)


def items(value: object, *path: str | int) -> list[object]:
    """The items of the list at the path; none if there is no list."""
    result = dig(value, *path)
    return result if isinstance(result, list) else []


def count(value: object, *path: str | int) -> int:
    """The whole number at the path; -1 if there is none."""
    result = dig(value, *path)
    return result if isinstance(result, int) and not isinstance(result, bool) else -1


def string(value: object, *path: str | int) -> str:
    """The string at the path; empty if there is none."""
    result = dig(value, *path)
    return result if isinstance(result, str) else ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response. Header names are case-insensitive."""

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
        events = list(EventParser(len(self.body)).feed(self.body))
        if not events:
            raise Failed("a stream of server-sent events", self)
        return Events(self, tuple(events))

    @override
    def __str__(self) -> str:
        return f"{self.status} {self.media_type or 'without content type'}: {self.body.decode(errors='replace')}"


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a complete stream."""

    reply: Reply
    data: tuple[bytes, ...]

    @property
    def terminators(self) -> list[int]:
        """The positions of `[DONE]`."""
        return [at for at, data in enumerate(self.data) if data == _DONE]

    def chunks(self) -> list[object]:
        """The JSON of every event but `[DONE]`."""
        try:
            return [read_json(data) for data in self.data if data != _DONE]
        except ValueError as error:
            raise Failed(f"JSON in every event ({error})", self.reply) from None

    def choices(self, index: int = 0) -> list[object]:
        """One choice in every chunk, in order."""
        return [
            choice
            for chunk in self.chunks()
            for choice in items(chunk, "choices")
            if dig(choice, "index") in (index, ABSENT)
        ]

    def text(self, index: int = 0) -> str:
        """The text of one choice, of chat or of a legacy completion."""
        return "".join(string(one, "delta", "content") + string(one, "text") for one in self.choices(index))
