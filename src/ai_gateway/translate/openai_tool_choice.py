"""Which functions a request's `tool_choice` names: one reading of it for every provider that needs the names."""

from collections.abc import Collection, Sequence

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from gateway_contract.openai import models


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
