"""Fields inside a request's objects that nobody reads: they are named, never lost in silence."""

from pydantic import BaseModel

from gateway_contract.openai import models

_NOTHING: tuple[object, ...] = (None, "", [], {})


def drop_unread(model: BaseModel, place: str, dropped: set[str], *read: str) -> None:
    """Name the fields that the contract does not know and nobody has read here, if there is anything in them."""
    extra = model.model_extra or {}
    dropped.update(f"{place}.{name}" for name, value in extra.items() if name not in read and value not in _NOTHING)


def drop_unread_options(
    body: models.CreateChatCompletionRequest | models.CreateCompletionRequest, dropped: set[str]
) -> None:
    """The same for `stream_options`; obfuscation is nothing that a provider could do for us."""
    options = body.stream_options
    if options is None:
        return
    if options.include_obfuscation:
        dropped.add("stream_options.include_obfuscation")
    drop_unread(options, "stream_options", dropped)


def drop_unread_wishes(body: models.CreateChatCompletionRequest, dropped: set[str]) -> None:
    """The same for the other fields of a chat that are objects: `response_format` and `tool_choice`."""
    for name in ("response_format", "tool_choice"):
        value = getattr(body, name)
        if isinstance(value, BaseModel):
            drop_unread(value, name, dropped)
    if isinstance(body.response_format, models.ResponseFormatJsonSchema):
        drop_unread(body.response_format.json_schema, "response_format.json_schema", dropped)
    match body.tool_choice:
        case models.ChatCompletionNamedToolChoice(function=chosen):
            drop_unread(chosen, "tool_choice.function", dropped)
        case models.ChatCompletionAllowedToolsChoice(allowed_tools=allowed):
            drop_unread(allowed, "tool_choice.allowed_tools", dropped)
        case _:
            pass
