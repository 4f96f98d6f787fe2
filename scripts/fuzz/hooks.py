"""Hooks for schemathesis: a deserializer for NDJSON, and a filter of requests."""

import json
from typing import Any

import schemathesis

from scripts.fuzz.refusals import is_refused_by_custom


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


def _has_ollama_only_fields(body: dict[str, Any]) -> bool:
    text_completion = body.get("raw") or body.get("suffix")
    refused_with_it = any(body.get(name) for name in ("system", "images", "format"))
    return bool(
        body.get("template") or body.get("context") or (body.get("prompt") and text_completion and refused_with_it)
    )
