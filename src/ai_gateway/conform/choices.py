"""Repairs of one choice of a reply or chunk: each changes it in place and returns whether it did."""

import json
import re
from collections.abc import Callable
from typing import Any

from ai_gateway.conform import finish_reasons
from ai_gateway.conform.parts import join_parts
from ai_gateway.conform.tool_calls import made_call_id
from ai_gateway.errors import UpstreamError
from ai_gateway.redaction import redact_all

type Object = dict[str, Any]
type ItemRepair = Callable[[Object, int], bool]

_MAX_NAME_LENGTH = 64
_OF_ANY_CALL = frozenset({"index", "type", "function"})
_OPTIONAL = ("tool_calls", "function_call", "audio")
_DIGITS = re.compile(r"[0-9]{1,6}")


def fill_index(choice: Object, at: int) -> bool:
    """Set a missing index to the place in the list."""
    if isinstance(choice.get("index"), int):
        return False
    choice["index"] = at
    return True


def fill_role(choice: Object, _at: int) -> bool:
    """Set a missing role: that of a reply is always `assistant`."""
    message = choice.get("message")
    if not isinstance(message, dict) or message.get("role") == "assistant":
        return False
    message["role"] = "assistant"
    return True


def join_content(choice: Object, _at: int) -> bool:
    """Join content in parts to one text."""
    message = choice.get("message", choice.get("delta"))
    return isinstance(message, dict) and join_parts(message)


def list_calls(choice: Object, _at: int) -> bool:
    """Wrap a single tool call in a list."""
    message = choice.get("message", choice.get("delta"))
    if not isinstance(message, dict) or not isinstance(message.get("tool_calls"), dict) or not message["tool_calls"]:
        return False
    message["tool_calls"] = [message["tool_calls"]]
    return True


def drop_empty(choice: Object, _at: int) -> bool:
    """Remove empty calls and audio, and calls of a whole message that are empty texts throughout."""
    message = choice.get("message", choice.get("delta"))
    if not isinstance(message, dict):
        return False
    calls = message.get("tool_calls")
    blank = False
    if isinstance(calls, list) and "message" in choice and any(map(_is_blank, calls)):
        blank = True
        message["tool_calls"] = [call for call in calls if not _is_blank(call)] or ""
    empty = [name for name in _OPTIONAL if message.get(name) in ("", {})]
    for name in empty:
        del message[name]
    return blank or bool(empty)


def _is_blank(call: object) -> bool:
    """Whether a call has a function with empty texts, no id and nothing else."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict) or "name" not in function:
        return False
    return not any([*function.values(), *(call[name] for name in call if name not in _OF_ANY_CALL)])


def map_finish(choice: Object, _at: int) -> bool:
    """Map a finish reason of another name, or a name for none. Raises UpstreamError for one that is a failure."""
    reason = choice.get("finish_reason")
    # SGLang's /generate gives an object: docs.sglang.ai "SGLang Native APIs".
    name = reason.get("type") if isinstance(reason, dict) else reason
    if not isinstance(name, str) or name in finish_reasons.allowed(choice):
        return False
    if finish_reasons.is_no_reason(name):
        choice["finish_reason"] = None
        return True
    meaning = finish_reasons.meaning_of(name)
    if meaning == "failure":
        raise UpstreamError.gave_up(detail=f"finish reason {name.strip()[:_MAX_NAME_LENGTH]}")
    if meaning is None:
        return False
    choice.setdefault("native_finish_reason", redact_all(reason))
    choice["finish_reason"] = meaning if meaning in finish_reasons.allowed(choice) else "stop"
    return True


def tell_unknown_finish(choice: Object, at: int) -> bool:
    """Report an unknown finish reason as `length`, which claims no complete answer, with the original beside it."""
    reason = choice.get("finish_reason")
    if (
        reason is None
        or (isinstance(reason, str) and reason in finish_reasons.allowed(choice))
        or map_finish(choice, at)
    ):
        return False
    choice.setdefault("native_finish_reason", redact_all(reason))
    choice["finish_reason"] = "length"
    return True


def fill_text(choice: Object, _at: int) -> bool:
    """Set a missing text from a chat's delta or message, or to an empty one."""
    if choice.get("text") is not None:
        return False
    name = "delta" if "delta" in choice else "message"
    text = choice.get(name)
    if isinstance(text, str):
        choice["text"] = choice.pop(name)
    elif isinstance(text, dict) and isinstance(text.get("content"), str):
        choice["text"] = text.pop("content")
    else:
        choice["text"] = ""
    return True


def fill_finish(choice: Object, _at: int) -> bool:
    """Set the missing finish reason of a whole reply."""
    if choice.get("finish_reason") is not None:
        return False
    message = choice.get("message")
    calls = isinstance(message, dict) and bool(message.get("tool_calls"))
    choice["finish_reason"] = "tool_calls" if calls else "stop"
    return True


def _calls(choice: Object) -> list[Object]:
    message = choice.get("message", choice.get("delta"))
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def fill_call_ids(reply: Object, request_id: str) -> bool:
    """Set missing ids of tool calls, which tool results refer to."""
    missing = [
        (choice_at, at, call)
        for choice_at, choice in enumerate(reply["choices"] if isinstance(reply.get("choices"), list) else [])
        if isinstance(choice, dict)
        for at, call in enumerate(_calls(choice))
        if not (isinstance(call.get("id"), str) and call["id"])
    ]
    for choice_at, at, call in missing:
        call["id"] = made_call_id(request_id, choice_at, at)
    return bool(missing)


def fill_arguments(choice: Object, _at: int) -> bool:
    """Set missing arguments of a whole call to an empty object."""
    functions = [call["function"] for call in _calls(choice) if isinstance(call.get("function"), dict)]
    without = [function for function in functions if function.get("arguments") in (None, "")]
    for function in without:
        function["arguments"] = "{}"
    return bool(without)


def fill_call_type(choice: Object, _at: int) -> bool:
    """Set the missing type of a function call."""
    missing = [call for call in _calls(choice) if "function" in call and call.get("type") != "function"]
    for call in missing:
        call["type"] = "function"
    return bool(missing)


def drop_call_type(choice: Object, _at: int) -> bool:
    """Remove a type that the contract's chunks do not have: custom calls are recognised by `custom`."""
    others = [call for call in _calls(choice) if call.get("type", "function") != "function"]
    for call in others:
        del call["type"]
    return bool(others)


def spell_arguments(choice: Object, _at: int) -> bool:
    """Serialise arguments that are a JSON value and not its text."""
    functions = [call["function"] for call in _calls(choice) if isinstance(call.get("function"), dict)]
    objects = [function for function in functions if isinstance(function.get("arguments"), dict | list)]
    for function in objects:  # PHP's json_encode writes an empty object as a list
        function["arguments"] = json.dumps(function["arguments"] or {}, ensure_ascii=False)
    return bool(objects)


def fill_logprobs(choice: Object, _at: int) -> bool:
    """Set missing `bytes` and `top_logprobs` of tokens."""
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    changed = False
    for token in tokens if isinstance(tokens, list) else []:
        if isinstance(token, dict) and "top_logprobs" not in token:
            token["top_logprobs"] = []
            changed = True
    return changed


def fill_call_index(choice: Object, _at: int) -> bool:
    """Set a missing index to the place in the list; upstreams that omit it send one call at a time."""
    missing = [(at, call) for at, call in enumerate(_calls(choice)) if not isinstance(call.get("index"), int)]
    for at, call in missing:
        index = call.get("index")
        call["index"] = int(index) if isinstance(index, str) and _DIGITS.fullmatch(index) else at
    return bool(missing)


def message_as_delta(choice: Object, _at: int) -> bool:
    """Rename `message` or `text` of a chunk to `delta`."""
    delta = choice.get("delta")
    if isinstance(delta, str) and delta:
        choice["delta"] = {"content": delta}
    elif delta not in (None, "", {}):
        return False
    elif isinstance(choice.get("message"), dict) and choice["message"]:
        choice["delta"] = choice.pop("message")
    elif isinstance(choice.get("text"), str) and choice["text"]:
        choice["delta"] = {"content": choice.pop("text")}
    else:
        return False
    return True


def fill_delta(choice: Object, _at: int) -> bool:
    """Set a missing delta of a choice that only has a finish reason."""
    if choice.get("delta") not in (None, "", []):
        return False
    choice["delta"] = {}
    return True
