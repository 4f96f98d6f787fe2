"""Items as they are stored and listed: each with an id, and messages in their long form."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from ai_gateway.contract.item_ids import given_id
from ai_gateway.contract.write import to_fields
from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.responses_chat.conversation import Item
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai_responses import models

_READ = TypeAdapter(list[models.InputItem])
_DONE: Fields = {"status": "completed"}
# Fields that items have when listed, and may lack when sent.
_DEFAULTS: Mapping[str, Fields] = {
    "function_call": _DONE,
    "function_call_output": _DONE,
    "custom_tool_call": _DONE,
    "custom_tool_call_output": _DONE,
    "tool_search_call": {**_DONE, "call_id": None, "execution": "client"},
    "tool_search_output": {**_DONE, "call_id": None, "execution": "client"},
    "shell_call": {**_DONE, "environment": None},
    "shell_call_output": {**_DONE, "max_output_length": None},
    "code_interpreter_call": {"code": None, "outputs": None},
}
# The same for their actions.
_ACTION: Mapping[str, Fields] = {"shell_call": {"timeout_ms": None, "max_output_length": None}}


def listed(items: Sequence[Item], response_id: str) -> list[Fields]:
    """The input items of a response, as complete JSON."""
    return [_listed(item, response_id, at) for at, item in enumerate(items)]


def encoded(items: Sequence[Mapping[str, JsonValue]]) -> str:
    """The items in their stored form."""
    return to_json(items).decode()


def read(items: Sequence[Fields]) -> list[Item]:
    """Stored items as input items. Raises UnsupportedValue for those that only an upstream can read."""
    try:
        return [*_READ.validate_python(items)]
    except ValidationError as error:
        at = next((step for step in error.errors(include_url=False)[0]["loc"] if isinstance(step, int)), 0)
        raise UnsupportedValue(
            f"A response before this one holds an item, {items[at].get('type')!s:.64}, that only its own provider can "
            "read: go on there, or send the items of the conversation in `input`.",
            param="previous_response_id",
        ) from None


def page(items: Sequence[Fields], *, limit: int, order: str, after: str | None) -> Fields:
    """A page of items, which are given oldest first. Raises InvalidRequest for an unknown id."""
    ordered = [*items] if order == "asc" else [*reversed(items)]
    start = 0
    if after is not None:
        places = [at for at, item in enumerate(ordered) if item["id"] == after]
        if not places:
            raise InvalidRequest("No item of this response has this id.", param="after", code="invalid_value")
        start = places[0] + 1
    shown = ordered[start : start + limit]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else ("", "")
    more = start + limit < len(ordered)
    return {"object": "list", "data": [*shown], "first_id": first, "last_id": last, "has_more": more}


def _listed(item: Item, response_id: str, at: int) -> Fields:
    fields: Fields = {name: value for name, value in to_fields(item).items() if value is not None}  # type: ignore[misc] # JSON
    kind = str(fields.setdefault("type", "message"))
    if not fields.get("id"):
        fields["id"] = given_id(kind, response_id, at)
    if kind != "message":
        if isinstance(action := fields.get("action"), dict) and kind in _ACTION:
            fields["action"] = {**_ACTION[kind], **action}
        if kind == "local_shell_call_output":  # OpenAI's document requires a field here that it does not describe
            fields.setdefault("call_id", fields["id"])
        return {**_DEFAULTS.get(kind, {}), **fields}
    said = fields["role"] == "assistant"
    content = fields["content"]
    if isinstance(content, str):
        content = [{"type": "output_text" if said else "input_text", "text": content}]
    if isinstance(content, list):
        fields["content"] = [_part(part) for part in content if isinstance(part, dict)]
    return {"status": "completed", **fields}


def _part(part: Fields) -> Fields:
    if part.get("type") == "output_text":
        return {"annotations": [], "logprobs": [], **part}
    if part.get("type") == "input_image":
        return {"detail": "auto", **part}
    return part
