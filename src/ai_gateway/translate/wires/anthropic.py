"""What the Messages API answers, as far as it is read here; what else it says is kept beside it.

Only what a reply cannot do without is required. Kinds of blocks and events that come later than this gateway are no
fault, as the API's versions promise nothing else.
"""

from collections.abc import Mapping
from typing import Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import UpstreamInvalidResponse


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class OutputDetails(_Open):
    """What the tokens of an answer were spent on."""

    thinking_tokens: int | None = None


class Usage(_Open):
    """Counts; in a stream a later one replaces an earlier one."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None
    service_tier: str | None = None
    server_tool_use: object = None

    @property
    def is_known(self) -> bool:
        """Whether anything was counted: counts are never made up."""
        return self.input_tokens is not None or self.output_tokens is not None


_BLOCKS = frozenset({"text", "tool_use", "thinking", "redacted_thinking"})
_DELTAS = frozenset({"text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta"})


class Block(_Open):
    """A block of any kind: only fields of its own kind are set. `unread` is one of a kind that nobody reads here."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, object] = Field(default_factory=dict)
    citations: list[dict[str, object]] | None = None
    unread: dict[str, object] | None = None

    @model_validator(mode="before")
    @classmethod
    def _keep_unread(cls, value: object) -> object:
        """Fields of a kind that nobody knows may mean anything, whatever they are called."""
        return _unread(value) if _kind(value) not in {None, *_BLOCKS} else value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """A text without text and a call of nobody are no blocks."""
        if self.type == "tool_use" and not (self.id and self.name):
            raise ValueError("a call without id or name")
        if self.type == "text" and "text" not in self.model_fields_set:
            raise ValueError("a text without text")
        return self


def _kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def _unread(value: object) -> dict[str, object]:
    return {"type": _kind(value), "unread": value}


class StopDetails(_Open):
    """Why the model declined, in words if there are any."""

    explanation: str | None = None


class Message(_Open):
    """A whole reply, or the head of a streamed one."""

    type: Literal["message"]
    id: str
    model: str
    content: list[Block]
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    stop_sequence: object = None
    container: object = None
    usage: Usage = Field(default_factory=Usage)


class Delta(_Open):
    """What an event adds: to a block, or to the whole message. `unread` is an addition of a kind that nobody knows."""

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

    @model_validator(mode="before")
    @classmethod
    def _keep_unread(cls, value: object) -> object:
        """What is added to the whole message is of no kind."""
        return _unread(value) if _kind(value) not in {None, *_DELTAS} else value


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
    """Some of the models, and how to ask for more."""

    data: list[ModelInfo]
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
    """The value as the model. Raises UpstreamInvalidResponse, which quotes nothing of it."""
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        where = ".".join(str(step) for step in error.errors(include_url=False, include_input=False)[0]["loc"][:6])
        raise UpstreamInvalidResponse(
            f"Provider '{provider}' sent a reply that is not one of the Messages API.", detail=where
        ) from None


def read_event(provider: str, value: Mapping[str, object]) -> Event | None:
    """The event; None for a ping and for kinds that nobody knows yet, whatever they hold."""
    known = value.get("type") in _EVENTS or not isinstance(value.get("type"), str)
    return read(provider, Event, value) if known else None


def parsed(provider: str, raw: bytes) -> dict[str, object]:
    """The JSON object in the text. Raises UpstreamInvalidResponse."""
    try:
        value = read_json(raw)
    except ValueError as error:
        raise UpstreamInvalidResponse.not_json(provider, detail=str(error)) from None
    if not isinstance(value, dict):
        raise UpstreamInvalidResponse(f"Provider '{provider}' sent a reply that is not an object.")
    return cast("dict[str, object]", value)
