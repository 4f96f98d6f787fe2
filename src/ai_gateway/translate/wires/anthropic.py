"""Responses and events of the Messages API, as far as they are read; other fields are kept.

Only indispensable fields are required. Unknown types of blocks and events are accepted, because a version of the API
may gain new ones: docs.anthropic.com/en/api/versioning.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ai_gateway.contract.lenient_json import read_leniently, whole_texts
from ai_gateway.errors import UpstreamInvalidResponse

_FIRST_FAULT = Field(fail_fast=True)  # validation of a list stops at the first error, which is enough


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class OutputDetails(_Open):
    """Output tokens by purpose."""

    thinking_tokens: int | None = None


class Usage(_Open):
    """Token counts. They are cumulative in a stream: docs.anthropic.com "Streaming messages"."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None
    cache_creation: object = None
    service_tier: str | None = None
    server_tool_use: object = None

    @property
    def is_known(self) -> bool:
        """Whether there is any count: counts are never invented."""
        return self.input_tokens is not None or self.output_tokens is not None


# What each type is known to have: docs.anthropic.com, "Messages" and "Streaming messages".
_BLOCKS = {
    "text": frozenset({"type", "text", "citations"}),
    "tool_use": frozenset({"type", "id", "name", "input"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
}
_DELTAS = {
    "": frozenset({"stop_reason", "stop_details", "stop_sequence", "container"}),
    "text_delta": frozenset({"type", "text"}),
    "thinking_delta": frozenset({"type", "thinking"}),
    "signature_delta": frozenset({"type", "signature"}),
    "input_json_delta": frozenset({"type", "partial_json"}),
    "citations_delta": frozenset({"type", "citation"}),
}


class Block(_Open):
    """A block of any type: only the fields of its type are set, and `extras` are all others.

    `unread` is the whole block, if its type is unknown.
    """

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, object] = Field(default_factory=dict)
    citations: Annotated[list[dict[str, object]], _FIRST_FAULT] | None = None
    unread: dict[str, object] | None = None
    extras: dict[str, object] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _select_fields(cls, value: object) -> object:
        """Keep a block of an unknown type as it is: its fields may have any meaning."""
        return _selected(value, _BLOCKS)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """A text block needs its text, a tool call its id and name."""
        if self.type == "tool_use" and not (self.id and self.name):
            raise ValueError("a call without id or name")
        if self.type == "text" and "text" not in self.model_fields_set:
            raise ValueError("a text without text")
        return self


def _selected(value: object, types: Mapping[str, frozenset[str]]) -> object:
    """A block or delta of a known type, without fields that the type does not have; any other is kept unread."""
    if not isinstance(value, dict) or not isinstance(kind := value.get("type", ""), str):
        return value
    if kind not in types:
        return {"type": kind, "unread": value} if kind else value
    more = value.keys() - types[kind]
    if not more:
        return value
    known = {name: each for name, each in value.items() if name not in more}
    return {**known, "extras": {name: each for name, each in value.items() if name in more}}


class StopDetails(_Open):
    """Why the model declined, with an explanation if there is one."""

    explanation: str | None = None


class Message(_Open):
    """A complete response, or the first event of a streamed one."""

    type: Literal["message"]
    role: object = None
    id: str
    model: str
    content: Annotated[list[Block], _FIRST_FAULT]
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    stop_sequence: object = None
    container: object = None
    usage: Annotated[Usage, BeforeValidator(lambda usage: {} if usage is None else usage)] = Field(
        default_factory=Usage
    )


class Delta(_Open):
    """What an event adds to a block or to the message. `extras` and `unread` are as those of blocks."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    citation: dict[str, object] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    stop_sequence: object = None
    container: object = None
    unread: dict[str, object] | None = None
    extras: dict[str, object] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _select_fields(cls, value: object) -> object:
        """Keep a delta of an unknown type as it is; a delta of the message has no type."""
        return _selected(value, _DELTAS)


class Event(_Open):
    """One event of a stream."""

    type: str
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: Usage | None = None


class ModelInfo(_Open):
    """One model."""

    id: str
    created_at: str | None = None


class ModelPage(_Open):
    """A page of models, and the cursor of the next one."""

    data: Annotated[list[ModelInfo], _FIRST_FAULT]
    has_more: bool = False
    last_id: str | None = None


_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    }
)


def read[Wire: BaseModel](provider: str, model: type[Wire], value: object) -> Wire:
    """The value as the model. Raises UpstreamInvalidResponse, which never quotes the value."""
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        where = ".".join(str(step) for step in error.errors(include_url=False, include_input=False)[0]["loc"][:6])
        raise UpstreamInvalidResponse(
            f"Provider '{provider}' sent a reply that is not one of the Messages API.", detail=where
        ) from None


def read_event(provider: str, value: Mapping[str, object]) -> Event | None:
    """The event; None for a ping and for unknown types, as docs.anthropic.com "Streaming messages" requires."""
    kind = value.get("type")
    known = not isinstance(kind, str) or kind in _EVENTS
    return read(provider, Event, value) if known else None


def parsed(provider: str, raw: bytes) -> dict[str, object]:
    """The JSON object in the text. Raises UpstreamInvalidResponse."""
    try:
        value = whole_texts(read_leniently(raw, set()), set())
    except ValueError as error:
        raise UpstreamInvalidResponse.not_json(provider, error, raw) from None
    if not isinstance(value, dict):
        raise UpstreamInvalidResponse(f"Provider '{provider}' sent a reply that is not an object.")
    return cast("dict[str, object]", value)
