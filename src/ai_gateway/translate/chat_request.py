"""What every translation of a chat request needs: its messages, the tools it chooses, and the fields nobody reads."""

from collections.abc import Collection, Sequence

from pydantic import BaseModel

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from gateway_contract.openai import models

# The contract lists the kinds of a message, but names no type for all of them.
type Message = (
    models.ChatCompletionRequestDeveloperMessage
    | models.ChatCompletionRequestSystemMessage
    | models.ChatCompletionRequestUserMessage
    | models.ChatCompletionRequestAssistantMessage
    | models.ChatCompletionRequestToolMessage
    | models.ChatCompletionRequestFunctionMessage
)
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


def chosen_names(choice: object, offered: Collection[str]) -> list[str] | None:
    """The functions that may be called by name; None where the choice names none.

    Raises InvalidRequest for a name that is not on offer and for a choice where nothing is, UnsupportedValue for tools
    that are no functions.
    """
    if not offered and choice not in (None, "none", "auto"):
        raise InvalidRequest("`tool_choice` needs `tools`.", param="tool_choice", code="invalid_value")
    match choice:
        case models.ChatCompletionNamedToolChoice():
            return _offered([choice.function.name], offered, "tool_choice.function.name")
        case models.ChatCompletionAllowedToolsChoice(allowed_tools=allowed):
            return _offered(_allowed(allowed), offered, "tool_choice.allowed_tools.tools")
        case models.ChatCompletionNamedToolChoiceCustom():
            raise UnsupportedValue("This provider has no custom tools.", param="tool_choice.type")
        case _:
            return None


def _allowed(allowed: models.ChatCompletionAllowedTools) -> list[str]:
    """The names on the list, which official clients put inside `function`."""
    found = []
    for at, entry in enumerate(allowed.tools):
        holder = entry.get("function", entry)
        name = holder.get("name") if isinstance(holder, dict) else None
        if entry.get("type", "function") != "function" or not isinstance(name, str):
            raise UnsupportedValue(
                "Only functions can be allowed here.", param=f"tool_choice.allowed_tools.tools[{at}]"
            )
        found.append(name)
    return found


def _offered(names: Sequence[str], offered: Collection[str], where: str) -> list[str]:
    if not names or not set(names) <= set(offered):
        raise InvalidRequest(
            "`tool_choice` names a function that is not in `tools`.", param=where, code="invalid_value"
        )
    return [*names]
