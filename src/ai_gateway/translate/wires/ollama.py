"""Ollama's responses, as far as they are read; other fields are kept.

Every field is optional, because Ollama's server omits zero values.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from ai_gateway.errors import UpstreamInvalidResponse

_FIRST_FAULT = Field(fail_fast=True)  # validation of a list stops at the first error, which is enough


class _Wire(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class CalledFunction(_Wire):
    name: str
    arguments: dict[str, Any] | str | None = None
    index: object = None


class ToolCall(_Wire):
    id: str | None = None
    function: CalledFunction


class Message(_Wire):
    role: object = None
    content: str | None = None
    thinking: str | None = None
    tool_calls: Annotated[list[ToolCall], _FIRST_FAULT] | None = None
    images: Annotated[list[str], _FIRST_FAULT] | None = None


class Alternative(_Wire):
    token: str
    logprob: float
    bytes: Annotated[list[int], _FIRST_FAULT] | None = None


class TokenLogprob(Alternative):
    top_logprobs: Annotated[list[Alternative], _FIRST_FAULT] | None = None


class Timed(_Wire):
    """Durations in nanoseconds; an invalid value is ignored, so that it does not cost the answer."""

    total_duration: object = None
    load_duration: object = None
    prompt_eval_duration: object = None
    eval_duration: object = None

    def durations(self) -> dict[str, int]:
        """The valid durations."""
        values = {name: getattr(self, name) for name in Timed.model_fields}
        return {name: value for name, value in values.items() if type(value) is int and value > 0}


class Reply(Timed):
    """A complete response of chat or generate, or one line of its stream."""

    model: str | None = None
    created_at: str | None = None
    message: Message | None = None
    response: str | None = None
    thinking: str | None = None
    logprobs: Annotated[list[TokenLogprob], _FIRST_FAULT] | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    context: Annotated[list[int], _FIRST_FAULT] | None = None
    _ended_as: str | None = PrivateAttr(default=None)

    @property
    def ended_as(self) -> str | None:
        """The server's own reason to end, where `done_reason` is a mapped one."""
        return self._ended_as

    def map_end(self, meaning: str) -> None:
        """Set `done_reason` to one of Ollama's."""
        self._ended_as, self.done_reason = self.done_reason, meaning


class Vectors(Timed):
    model: str | None = None
    embeddings: Annotated[list[Annotated[list[float], _FIRST_FAULT]], _FIRST_FAULT]
    prompt_eval_count: int | None = None


class ListedModel(_Wire):
    name: str
    modified_at: str | None = None
    size: int | None = None
    details: dict[str, Any] | None = None
    capabilities: Annotated[list[str], _FIRST_FAULT] | None = None


class Shown(_Wire):
    """Everything that a server reports about one model."""

    modified_at: str | None = None
    details: dict[str, Any] | None = None
    capabilities: Annotated[list[str], _FIRST_FAULT] | None = None


class ModelList(_Wire):
    models: Annotated[list[ListedModel], _FIRST_FAULT] | None


def read[Shape: BaseModel](shape: type[Shape], value: object) -> Shape:
    """The value as the shape. Raises UpstreamInvalidResponse, which never quotes the value."""
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"][:6])
        raise UpstreamInvalidResponse(
            "The provider's reply is not what Ollama answers.", detail=f"{where}: {first['type']}"
        ) from None


def seconds(moment: str | None) -> int | None:
    """Unix time of an RFC 3339 time with up to nine decimals; None if it is invalid or Go's zero time."""
    try:
        result = int(datetime.fromisoformat(moment or "").timestamp())
    except (ValueError, OverflowError):
        return None
    return result if result >= 0 else None
