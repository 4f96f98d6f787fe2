"""What the built-in provider refuses although the contract allows it.

Not in hooks.py: to import that is to have schemathesis filter whatever it generates in the process.
"""

from typing import Any


def is_refused_by_custom(body: dict[str, Any]) -> bool:
    """Whether the built-in provider refuses the body for what no schema can express, if it is valid else."""
    modalities = body.get("modalities")
    if body.get("model") == "" or (isinstance(modalities, list) and "audio" in modalities):
        return True
    return _forces_what_is_missing(body) or _asks_for_tools_of_the_gateway(body)


def _forces_what_is_missing(body: dict[str, Any]) -> bool:
    """Whether a call is asked for of a function or tool that is not there. Nothing is known of the body's types."""
    tools = [named for tool in _objects(body.get("tools")) for named in _names(tool)]
    functions = [function.get("name") for function in _objects(body.get("functions"))]
    call, choice = body.get("function_call"), body.get("tool_choice")
    if isinstance(call, dict) and call.get("name") not in functions:
        return True
    if not isinstance(choice, dict):
        return choice == "required" and not tools
    allowed = choice.get("allowed_tools")
    asked = _objects(allowed.get("tools")) if isinstance(allowed, dict) else [choice]
    return not tools or any(named not in tools for one in asked for named in _names(one))


def _asks_for_tools_of_the_gateway(body: dict[str, Any]) -> bool:
    """Whether it does so in more than the simplest way: without settings, only searches are there, for one choice."""
    hosted = [tool for tool in _objects(body.get("tools")) if str(tool.get("type")).startswith("gateway:")]
    if not hosted:
        return False
    is_simple = len(hosted) == 1 and hosted[0] == {"type": "gateway:web_search"} and body.get("n") in {None, 1}
    return not is_simple or isinstance(body.get("tool_choice"), dict)


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _names(tool: dict[str, Any]) -> list[tuple[str, object]]:
    return [(kind, tool[kind].get("name")) for kind in ("function", "custom") if isinstance(tool.get(kind), dict)]
