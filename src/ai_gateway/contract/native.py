"""Operations of wires that callers and upstreams share, so that requests are relayed unchanged."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic_core import from_json

_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_.]+)"')


@dataclass(frozen=True)
class NativeOperation:
    """An operation of upstreams that speak its wire: that wire, and the path behind their base URL.

    `last` are the types of the events that end its streams, `deltas` is a pattern of events that only continue a text,
    and `texts` are the names that such a text can have.
    `headers` are the caller's headers that the upstream understands, in lower case. `key_header` carries the upstream's
    key in addition to Authorization, which some upstreams do not read on this wire.
    """

    wire: str
    path: str
    last: frozenset[str]
    headers: tuple[str, ...] = ()
    key_header: str = ""
    deltas: bytes = b"(?!)"
    texts: tuple[str, ...] = ()

    @cached_property
    def delta(self) -> re.Pattern[bytes]:
        """Matches the data of one delta event. Its group is the type."""
        return re.compile(rb'\{"type": ?"(%b)",.*\}' % self.deltas, re.DOTALL)

    @cached_property
    def delta_last(self) -> re.Pattern[bytes]:
        """The same for a type that is sent last, as by vLLM. To be tried on what ends so: it reads all of it."""
        return re.compile(rb'\{.*, ?"type": ?"(%b)"\}' % self.deltas, re.DOTALL)

    @cached_property
    def run(self) -> re.Pattern[bytes]:
        """Matches consecutive delta events as framed for the client, in bytes without carriage returns."""
        # `.` excludes only line feeds, which takes a tenth of the time of a character class.
        return re.compile(rb'(?:event: (%b)\ndata: \{(?:"type": ?"\1",.*|.*, ?"type": ?"\1")\}\n\n)++' % self.deltas)

    @cached_property
    def text(self) -> re.Pattern[bytes]:
        """Finds the text of a delta event. Its group is the content of the JSON string."""
        return re.compile(rb'"(?:%b)": ?"([^"\\]*+(?:\\.[^"\\]*+)*+)"' % "|".join(self.texts).encode())

    def passed(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The caller's headers that are passed to the upstream."""
        return {name: headers[name] for name in self.headers if name in headers}


def event_type(event: bytes) -> str:
    """The `type` of an event on wires whose events have one; empty if it has none."""
    if match := _TYPE.match(event):
        return match[1].decode()
    try:
        value = from_json(event)
    except ValueError:
        return ""
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else ""


RESPONSES = "responses"
ANTHROPIC = "anthropic"
WIRES = frozenset({"openai", RESPONSES, ANTHROPIC})
"""Wires of OpenAI-compatible upstreams. `openai` means chat completions, completions and embeddings."""
_MESSAGES_HEADERS = ("anthropic-version", "anthropic-beta")
_NO_STREAM: frozenset[str] = frozenset()
CREATE_RESPONSE = NativeOperation(
    RESPONSES,
    "/responses",
    frozenset({"response.completed", "response.incomplete", "response.failed"}),
    deltas=rb"response\.[a-z_.]+\.delta",
    texts=("delta",),
)
CREATE_MESSAGE = NativeOperation(
    ANTHROPIC,
    "/messages",
    frozenset({"message_stop", "error"}),
    _MESSAGES_HEADERS,
    "x-api-key",
    deltas=rb"content_block_delta",
    texts=("text", "thinking", "partial_json", "signature", "content"),
)
COUNT_TOKENS = NativeOperation(ANTHROPIC, "/messages/count_tokens", _NO_STREAM, _MESSAGES_HEADERS, "x-api-key")
