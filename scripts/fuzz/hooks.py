"""Hooks for schemathesis: a deserializer for NDJSON, and a filter of requests."""

import json
from typing import Any

import schemathesis


@schemathesis.deserializer("application/x-ndjson")
def read_lines(context: schemathesis.DeserializationContext, response: schemathesis.Response) -> list[Any]:
    """The lines as a list, as the contract describes them; without this, they would not be checked at all."""
    return [json.loads(line) for line in response.content.decode().splitlines()]


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Skip requests that the contract allows and that are a 400 for a reason that no schema can express.

    Each of these has tests of its own: what is not is in tests/translate, all else in tests/providers/custom.
    """
    if not isinstance(case.body, dict):
        return True
    if case.path == "/api/generate":
        return not _has_ollama_only_fields(case.body)
    if case.path == "/api/show":
        return bool(case.body.get("model") or case.body.get("name"))
    return not is_refused_by_custom(case.body)


def is_refused_by_custom(body: dict[str, Any]) -> bool:
    """Whether the built-in provider refuses the body for what no schema can express, if it is valid else."""
    modalities = body.get("modalities")
    if body.get("model") == "" or (isinstance(modalities, list) and "audio" in modalities):
        return True
    return _forces_what_is_missing(body)


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


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _names(tool: dict[str, Any]) -> list[tuple[str, object]]:
    return [(kind, tool[kind].get("name")) for kind in ("function", "custom") if isinstance(tool.get(kind), dict)]


def _has_ollama_only_fields(body: dict[str, Any]) -> bool:
    text_completion = body.get("raw") or body.get("suffix")
    refused_with_it = any(body.get(name) for name in ("system", "images", "format"))
    return bool(
        body.get("template") or body.get("context") or (body.get("prompt") and text_completion and refused_with_it)
    )
