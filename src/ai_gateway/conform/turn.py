"""A streamed turn as consecutive parts: chat chunks may interleave them, other wires' events may not.

The content of a chat chunk belongs to a text, a refusal, the reasoning, or one of several tool calls. A part ends when
another begins, but a call only ends once its arguments are a complete object, or at the end of the stream: until then,
content of other parts is held back. So a call whose pieces are interleaved with another one's is sent after it.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic import BaseModel, JsonValue
from pydantic_core import from_json, to_json

from ai_gateway.conform.tool_calls import Nesting
from ai_gateway.errors import UpstreamInvalidResponse

type Key = str | int
"""A part: one of the names below or, for a tool call, its index."""

TEXT: Final = "text"
REFUSAL: Final = "refusal"
REASONING: Final = "reasoning"
OTHER: Final = "other"

_MAX_WAITING = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CallHead:
    """The head of a tool call. `is_custom` calls have a text as input instead of arguments."""

    id: str
    name: str
    is_custom: bool = False


class Parts(Protocol):
    """Writes parts as events of a wire. The methods return what has to be sent.

    `texts` are those of the open part, as contents of JSON strings. `extra_fields` names further delta fields that it
    can write.
    """

    texts: list[bytes]
    extra_fields: frozenset[str]

    @abstractmethod
    def open(self, key: Key, head: CallHead | None) -> bytes:
        """Begin a part, after ending the previous one."""

    @abstractmethod
    def more(self, texts: Sequence[bytes]) -> bytes:
        """Continue the open part."""

    @abstractmethod
    def preview(self, texts: Sequence[bytes]) -> bytes:
        """The result of `more` without an effect until `commit`; empty if that needs `more`."""

    @abstractmethod
    def commit(self) -> None:
        """Apply the last preview, which has been sent."""

    @abstractmethod
    def write_field(self, field: str, values: Sequence[JsonValue]) -> bytes:
        """Write a further field of the open part, one of those in `extra_fields`."""

    def with_logprobs(self, text: str, logprobs: Sequence[BaseModel]) -> bytes:  # noqa: ARG002 - what an override needs
        """Continue the open text, with log probabilities."""
        return self.more((inside(text),))


def inside(text: str) -> bytes:
    """The content of a text's JSON string."""
    return to_json(text)[1:-1]


def outside(texts: Sequence[bytes]) -> str:
    """The text from contents of JSON strings."""
    return str(from_json(b'"%b"' % b"".join(texts)))


type Beside = Callable[[], bytes]
"""Writes further fields of a part, such as annotations, once it is open."""


@dataclass(slots=True)
class _Waiting:
    """A part that is held back until the previous one ends."""

    key: Key
    content: list[bytes | Beside] = field(default_factory=list)


class Turn:
    """Passes content to `parts`, one part after the other. The methods return what has to be sent."""

    def __init__(self, parts: Parts) -> None:
        self.open: Key | None = None
        self._parts = parts
        self._heads: dict[int, CallHead] = {}
        self._over: set[int] = set()
        self._waiting: list[_Waiting] = []
        self._size = 0
        self._nesting = Nesting()
        self._read: list[str] = []

    def is_open(self, key: Key) -> bool:
        """Whether this part is open, so that more of it is not held back."""
        return key == self.open and not self._waiting

    def add_text(self, key: Key, texts: Sequence[bytes]) -> bytes:
        """Nonempty texts of a part. Raises UpstreamInvalidResponse for a part that has ended."""
        if key == self.open:
            written = self._parts.more(texts)
            return written + self._release() if self._waiting and self._is_over() else written
        if not self._begins(key):
            self._wait(key, texts)
            return b""
        return self._begun(key) + self._parts.more(texts)

    def call(self, index: int, head: CallHead) -> bytes:
        """Begin a tool call."""
        if index in self._heads:
            raise UpstreamInvalidResponse("The provider began one tool call twice.")
        self._heads[index] = head
        if self._begins(index):
            return self._begun(index)
        self._wait(index, ())
        return b""

    def beside(self, key: Key, write: Beside) -> bytes:
        """Write further fields of a part."""
        if key == self.open:
            return write()
        if self._begins(key):
            return self._begun(key) + write()
        self._wait(key, (write,))
        return b""

    def end(self) -> bytes:
        """The end of the turn: releases everything that is held back."""
        written = []
        while self._waiting:
            written.append(self._next())
        return b"".join(written)

    def _begins(self, key: Key) -> bool:
        """Whether this part may begin now. Raises UpstreamInvalidResponse if it has ended already."""
        if type(key) is int and (key in self._over or key not in self._heads):
            raise UpstreamInvalidResponse("The provider went on with a tool call after its end.")
        return not self._waiting and self._is_over()

    def _is_over(self) -> bool:
        """Whether the open part may end, so that another one can follow."""
        if type(self.open) is not int or self._heads[self.open].is_custom:
            return True
        texts = self._parts.texts
        self._read += [outside((text,)) for text in texts[len(self._read) :]]
        return self._nesting.is_whole(self._read)

    def _begun(self, key: Key) -> bytes:
        if type(self.open) is int:
            self._over.add(self.open)
        self.open = key
        self._nesting, self._read = Nesting(), []
        return self._parts.open(key, self._heads[key] if type(key) is int else None)

    def _wait(self, key: Key, content: Sequence[bytes | Beside]) -> None:
        part = next((each for each in self._waiting if each.key == key), None) if type(key) is int else None
        if part is None and self._waiting and self._waiting[-1].key == key:
            part = self._waiting[-1]
        if part is None:
            part = _Waiting(key)
            self._waiting.append(part)
        part.content += content
        self._size += sum(len(each) for each in content if isinstance(each, bytes))
        if self._size > _MAX_WAITING:
            raise UpstreamInvalidResponse("The provider called a tool with endless arguments.")

    def _release(self) -> bytes:
        """Release the held parts that may begin after the open one."""
        written = [self._next()]
        while self._waiting and self._is_over():
            written.append(self._next())
        return b"".join(written)

    def _next(self) -> bytes:
        part = self._waiting.pop(0)
        written = [self._begun(part.key)]
        for each in part.content:
            if isinstance(each, bytes):
                self._size -= len(each)
                written.append(self._parts.more((each,)))
            else:
                written.append(each())
        return b"".join(written)
