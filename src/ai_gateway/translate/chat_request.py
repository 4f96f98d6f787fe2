"""Common parts of translations of chat requests: message types, tool choice, and fields without a counterpart."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Final, Literal, cast

from pydantic import BaseModel

from ai_gateway.contract.present_fields import new, set_dict, set_extra, set_given, set_private
from ai_gateway.errors import InvalidRequest, UnsupportedValue
from gateway_contract.openai import models

# The contract lists the kinds of a message, but has no name for their union.
type Message = (
    models.ChatCompletionRequestDeveloperMessage
    | models.ChatCompletionRequestSystemMessage
    | models.ChatCompletionRequestUserMessage
    | models.ChatCompletionRequestAssistantMessage
    | models.ChatCompletionRequestToolMessage
    | models.ChatCompletionRequestFunctionMessage
)
_EMPTY: tuple[object, ...] = (None, "", [], {})


@cache
def _blank[Model: BaseModel](model: type[Model]) -> tuple[Model, frozenset[str], dict[str, object], bool]:
    """One without fields, the names of its fields, its defaults, and whether it can have others."""
    blank = model.model_construct()
    return blank, frozenset(model.model_fields), blank.__dict__, blank.__pydantic_extra__ is not None


def unchecked[Model: BaseModel](model: type[Model], fields: Mapping[str, object]) -> Model:
    """A request, or a part of one, not validated: the provider may accept more than the contract, or refuse it."""
    blank, names, defaults, is_open = _blank(model)
    if not names.issuperset(fields):  # fields beyond the contract
        return cast("Model", blank.model_copy(update=fields))
    # Half of the cost of `model_copy`.
    made = new(model)
    values = defaults.copy()
    values.update(fields)
    set_dict(made, values)
    set_given(made, {*fields})
    set_extra(made, {} if is_open else None)
    set_private(made, None)
    return made


_OF_ROLE: Final[Mapping[str, type[Message]]] = {
    "developer": models.ChatCompletionRequestDeveloperMessage,
    "system": models.ChatCompletionRequestSystemMessage,
    "user": models.ChatCompletionRequestUserMessage,
}


def text_message(role: Literal["developer", "system", "user"], text: str) -> Message:
    """The message of a text that has been validated."""
    return unchecked(_OF_ROLE[role], {"content": text, "role": role})


def drop_unknown(model: BaseModel, place: str, dropped: set[str], *read: str) -> None:
    """Report the fields outside the contract that are neither `read` by the caller of this function nor empty."""
    extra = model.model_extra or {}
    dropped.update(f"{place}.{name}" for name, value in extra.items() if name not in read and value not in _EMPTY)


def drop_unknown_stream_options(
    body: models.CreateChatCompletionRequest | models.CreateCompletionRequest, dropped: set[str]
) -> None:
    """The same for `stream_options`, including obfuscation, which a provider cannot do for the gateway."""
    options = body.stream_options
    if options is None:
        return
    if options.include_obfuscation:
        dropped.add("stream_options.include_obfuscation")
    drop_unknown(options, "stream_options", dropped)


def drop_unknown_in_objects(body: models.CreateChatCompletionRequest, dropped: set[str]) -> None:
    """The same inside `response_format` and `tool_choice`."""
    for name in ("response_format", "tool_choice"):
        value = getattr(body, name)
        if isinstance(value, BaseModel):
            drop_unknown(value, name, dropped)
    if isinstance(body.response_format, models.ResponseFormatJsonSchema):
        drop_unknown(body.response_format.json_schema, "response_format.json_schema", dropped)
    match body.tool_choice:
        case models.ChatCompletionNamedToolChoice(function=chosen):
            drop_unknown(chosen, "tool_choice.function", dropped)
        case models.ChatCompletionAllowedToolsChoice(allowed_tools=allowed):
            drop_unknown(allowed, "tool_choice.allowed_tools", dropped)
        case _:
            pass


def chosen_names(choice: object, offered: Collection[str]) -> list[str] | None:
    """The functions that the choice names; None where it names none.

    Raises InvalidRequest for a name that is not in `offered` and for a choice without tools, UnsupportedValue for tools
    that are not functions.
    """
    if not offered and choice not in (None, "none", "auto"):
        raise InvalidRequest("`tool_choice` needs `tools`.", param="tool_choice", code="invalid_value")
    match choice:
        case models.ChatCompletionNamedToolChoice():
            return _checked([choice.function.name], offered, "tool_choice.function.name")
        case models.ChatCompletionAllowedToolsChoice(allowed_tools=allowed):
            return _checked(_allowed(allowed), offered, "tool_choice.allowed_tools.tools")
        case models.ChatCompletionNamedToolChoiceCustom():
            raise UnsupportedValue("This provider has no custom tools.", param="tool_choice.type")
        case _:
            return None


def _allowed(allowed: models.ChatCompletionAllowedTools) -> list[str]:
    """The names on the list. OpenAI's own clients put them inside `function`."""
    names = []
    for at, entry in enumerate(allowed.tools):
        function = entry.get("function", entry)
        name = function.get("name") if isinstance(function, dict) else None
        if entry.get("type", "function") != "function" or not isinstance(name, str):
            raise UnsupportedValue(
                "Only functions can be allowed here.", param=f"tool_choice.allowed_tools.tools[{at}]"
            )
        names.append(name)
    return names


def _checked(names: Sequence[str], offered: Collection[str], param: str) -> list[str]:
    if not names or not set(names) <= set(offered):
        raise InvalidRequest(
            "`tool_choice` names a function that is not in `tools`.", param=param, code="invalid_value"
        )
    return [*names]
