"""Whole replies as events, for upstreams that ignore `stream: true`.

Only fields that events need are read: unknown fields and kinds stay unchanged. The order is that of OpenAI's "Streaming
events" and of Anthropic's "Streaming messages".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from ai_gateway.contract.native import CREATE_MESSAGE, CREATE_RESPONSE, NativeOperation

type _Fields = Mapping[str, Any]
type _Event = dict[str, Any]

_ENDS = frozenset({"completed", "incomplete", "failed"})
# Streamed fields of items: the field, and the name of its events.
_STREAMED_TEXTS = {
    "function_call": ("arguments", "function_call_arguments"),
    "custom_tool_call": ("input", "custom_tool_call_input"),
    "mcp_call": ("arguments", "mcp_call_arguments"),
}
_TEXTS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
# Streamed fields of blocks: the field, its initial value, and the type of its deltas.
_BLOCKS = {
    "text": (("citations", [], "citations_delta"), ("text", "", "text_delta")),
    "thinking": (("thinking", "", "thinking_delta"), ("signature", "", "signature_delta")),
    "tool_use": (("input", {}, "input_json_delta"),),
    "server_tool_use": (("input", {}, "input_json_delta"),),
    "mcp_tool_use": (("input", {}, "input_json_delta"),),
}


def as_events(operation: NativeOperation, reply: object) -> list[bytes]:
    """The events of a whole reply, each as JSON; empty if it is not a finished reply of this operation."""
    if not isinstance(reply, dict):
        return []
    if operation == CREATE_RESPONSE and reply.get("object") == "response" and str(reply.get("status")) in _ENDS:
        numbered = ({**event, "sequence_number": number} for number, event in enumerate(_response(reply)))
        return [to_json(event) for event in numbered]
    if operation == CREATE_MESSAGE and reply.get("type") == "message":
        return [to_json(event) for event in _message(reply)]
    return []


def _response(reply: _Fields) -> Iterator[_Event]:
    unknown = {name: None for name in ("usage", "error", "incomplete_details", "completed_at") if name in reply}
    begun = {**reply, **unknown, "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(_dicts(reply.get("output"))):
        yield from _item(item, index)
    yield {"type": f"response.{reply['status']}", "response": reply}


def _item(item: _Fields, index: int) -> Iterator[_Event]:
    place = {"item_id": item.get("id", ""), "output_index": index}
    kind = str(item.get("type"))
    field, name = _STREAMED_TEXTS.get(kind, ("", ""))
    value, summary, content = item.get(field), _dicts(item.get("summary")), _dicts(item.get("content"))
    fields: _Event = {"summary": [], "content": []} if kind in {"message", "reasoning"} else {}
    if isinstance(value, str):
        fields |= {field: "", "output": None, "error": None}
    begun = {"status": "in_progress", **fields}
    added = {**item, **{each: begun[each] for each in begun if item.get(each) is not None}}
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    for at, part in enumerate(summary if "summary" in fields else ()):
        yield from _summary(part, {**place, "summary_index": at})
    for at, part in enumerate(content if "content" in fields else ()):
        yield from _part(part, {**place, "content_index": at})
    if isinstance(value, str):
        yield {"type": f"response.{name}.delta", **place, "delta": value}
        named = {"name": item.get("name", "")} if kind == "function_call" else {}
        yield {"type": f"response.{name}.done", **place, **named, field: value}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _summary(part: _Fields, place: _Event) -> Iterator[_Event]:
    yield {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}}
    yield {"type": "response.reasoning_summary_text.delta", **place, "delta": part.get("text", "")}
    yield {"type": "response.reasoning_summary_text.done", **place, "text": part.get("text", "")}
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


def _part(part: _Fields, place: _Event) -> Iterator[_Event]:
    kind = str(part.get("type"))
    field = _TEXTS.get(kind)
    begun = {**part, **{each: [] for each in ("annotations", "logprobs") if each in part}}
    if field is not None:
        begun[field] = ""
    yield {"type": "response.content_part.added", **place, "part": begun}
    if field is not None:
        text = part.get(field, "")
        more = {"logprobs": _list(part.get("logprobs"))} if kind == "output_text" else {}
        yield {"type": f"response.{kind}.delta", **place, "delta": text, **more}
        for at, annotation in enumerate(_list(part.get("annotations"))):
            fields = {"annotation_index": at, "annotation": annotation}
            yield {"type": "response.output_text.annotation.added", **place, **fields}
        yield {"type": f"response.{kind}.done", **place, field: text, **more}
    yield {"type": "response.content_part.done", **place, "part": part}


def _message(reply: _Fields) -> Iterator[_Event]:
    ended = {name: reply.get(name) for name in ("stop_reason", "stop_sequence")}
    late = {name: reply[name] for name in ("stop_details", "container") if name in reply}
    nothing = dict.fromkeys([*ended, *late])
    yield {"type": "message_start", "message": {**reply, **nothing, "content": []}}
    for index, block in enumerate(_dicts(reply.get("content"))):
        yield from _block(block, index)
    usage = reply.get("usage")
    yield {
        "type": "message_delta",
        "delta": ended | late,
        "usage": usage if isinstance(usage, dict) else {"output_tokens": 0},
        **({"context_management": reply["context_management"]} if reply.get("context_management") else {}),
    }
    yield {"type": "message_stop"}


def _block(block: _Fields, index: int) -> Iterator[_Event]:
    begun, deltas = dict(block), list[_Event]()
    for field, empty, kind in _BLOCKS.get(str(block.get("type")), ()):
        value = block.get(field)
        if not value:
            continue
        begun[field] = empty
        if field == "citations":
            deltas += ({"type": kind, "citation": each} for each in _list(value))
        elif field == "input":
            deltas.append({"type": kind, "partial_json": to_json(value).decode()})
        else:
            deltas.append({"type": kind, field: value})
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in _list(value) if isinstance(each, dict)]
