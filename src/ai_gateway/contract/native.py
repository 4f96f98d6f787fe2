"""Operations that callers and upstreams may have in common, so that a request goes on as it came."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic_core import from_json

_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_.]+)"')


@dataclass(frozen=True)
class NativeOperation:
    """An operation as its own upstreams serve it: the wire they speak, and its path behind their base URL.

    `last` are the types of the events after which its streams have nothing to say, `deltas` a pattern of those that
    only go on with a text. `headers` are those of a caller that mean something to the upstream, in lower case.
    `key_header` carries the upstream's key beside its own, which such an upstream may not read on this wire.
    """

    wire: str
    path: str
    last: frozenset[str]
    headers: tuple[str, ...] = ()
    key_header: str = ""
    deltas: bytes = b"(?!)"

    @cached_property
    def delta(self) -> re.Pattern[bytes]:
        """The data of one of these events. Its group is the type."""
        return re.compile(rb'\{"type": ?"(%b)",.*\}' % self.deltas, re.DOTALL)

    @cached_property
    def run(self) -> re.Pattern[bytes]:
        """As many of them as follow one another, framed as they go out, in what holds no carriage return."""
        # A dot, which stops at line feeds alone, takes a tenth of the time of a class.
        return re.compile(rb'(?:event: (%b)\ndata: \{"type": ?"\1",.*\}\n\n)++' % self.deltas)

    def passed(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What of a caller's headers the upstream gets."""
        return {name: headers[name] for name in self.headers if name in headers}


def event_type(event: bytes) -> str:
    """The `type` of an event on wires whose events have one; empty where there is none to be read."""
    if match := _TYPE.match(event):
        return match[1].decode()
    try:
        value = from_json(event)
    except ValueError:
        return ""
    said = value.get("type") if isinstance(value, dict) else None
    return said if isinstance(said, str) else ""


RESPONSES = "responses"
ANTHROPIC = "anthropic"
WIRES = frozenset({"openai", RESPONSES, ANTHROPIC})
"""What an upstream of OpenAI's kind can be told to speak. `openai` are chat completions, completions, embeddings."""
_MESSAGES_HEADERS = ("anthropic-version", "anthropic-beta")
_NO_STREAM: frozenset[str] = frozenset()
CREATE_RESPONSE = NativeOperation(
    RESPONSES,
    "/responses",
    frozenset({"response.completed", "response.incomplete", "response.failed"}),
    deltas=rb"response\.[a-z_.]+\.delta",
)
COUNT_INPUT = NativeOperation(RESPONSES, "/responses/input_tokens", _NO_STREAM)
COMPACT_RESPONSE = NativeOperation(RESPONSES, "/responses/compact", _NO_STREAM)
CREATE_MESSAGE = NativeOperation(
    ANTHROPIC,
    "/messages",
    frozenset({"message_stop", "error"}),
    _MESSAGES_HEADERS,
    "x-api-key",
    deltas=rb"content_block_delta",
)
COUNT_TOKENS = NativeOperation(ANTHROPIC, "/messages/count_tokens", _NO_STREAM, _MESSAGES_HEADERS, "x-api-key")
