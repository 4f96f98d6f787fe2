"""What schemathesis has to be told: how lines of JSON are read, and what the fuzzing leaves out."""

import json
from typing import Any

import schemathesis


@schemathesis.deserializer("application/x-ndjson")
def read_lines(context: schemathesis.DeserializationContext, response: schemathesis.Response) -> list[Any]:
    """The lines as a list, which is how the contract describes them; unread, they would not be checked at all."""
    return [json.loads(line) for line in response.content.decode().splitlines()]


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Drop requests that the contract allows and that are refused with 400 for a reason no schema can say.

    Each refusal has tests of its own: spoken answers in tests/providers/custom, the others in tests/translate.
    """
    if not isinstance(case.body, dict):
        return True
    if case.path == "/api/generate":
        return not _means_something_to_ollama_only(case.body)
    if case.path == "/api/show":
        return bool(case.body.get("model") or case.body.get("name"))
    wanted = case.body.get("modalities")
    return not (isinstance(wanted, list) and "audio" in wanted)


def _means_something_to_ollama_only(body: dict[str, Any]) -> bool:
    bare = body.get("raw") or body.get("suffix")
    beside = any(body.get(name) for name in ("system", "images", "format"))
    return bool(body.get("prompt") and (body.get("template") or body.get("context") or (bare and beside)))
