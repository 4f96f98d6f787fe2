"""What may be mended in an upstream's reply, rule by rule.

Each rule looks at one kind of object, changes it in place and says whether it did. A rule mends what has one honest
meaning: it fills in what the gateway knows itself, and spells right what is only spelled otherwise. Words, calls and
counts are never made up. `docs/conformance.md` lists the rules by name.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

type Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """What the gateway knows about a reply before it comes: which model was asked, and in which request."""

    model: str
    request_id: str


type Rule = Callable[[Object, Known], bool]

FINISH_REASONS = {
    "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "end_turn": "stop", "end": "stop", "done": "stop",
    "completed": "stop", "complete": "stop", "max_tokens": "length", "max_length": "length", "token_limit": "length",
    "model_length": "length", "tool_use": "tool_calls", "tool_call": "tool_calls", "tool-calls": "tool_calls",
    "content-filter": "content_filter", "safety": "content_filter", "recitation": "content_filter",
    "refusal": "content_filter",
}  # fmt: skip
_REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}


def fill_id(reply: Object, known: Known) -> bool:
    """An id from the request's own."""
    if isinstance(reply.get("id"), str) and reply["id"]:
        return False
    reply["id"] = f"chatcmpl-{known.request_id}"
    return True


def fill_created(reply: Object, _known: Known) -> bool:
    """The time of arrival, or the upstream's in whole seconds."""
    created = reply.get("created")
    if isinstance(created, int) and not isinstance(created, bool):
        return False
    reply["created"] = int(created) if isinstance(created, float) else int(time.time())
    return True


def fill_model(reply: Object, known: Known) -> bool:
    """The model that was asked for."""
    if isinstance(reply.get("model"), str) and reply["model"]:
        return False
    reply["model"] = known.model
    return True


def fix_object(name: str) -> Rule:
    """The object's type, which follows from the operation."""

    def rule(reply: Object, _known: Known) -> bool:
        changed = reply.get("object") != name
        reply["object"] = name
        return changed

    return rule


def fill_usage_total(reply: Object, _known: Known) -> bool:
    """The sum of the two counts that are there."""
    usage = reply.get("usage")
    if not isinstance(usage, dict) or isinstance(usage.get("total_tokens"), int):
        return False
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens", 0)]
    if not all(isinstance(count, int) for count in counts):
        return False
    usage["total_tokens"] = sum(counts)
    return True


def _each(key: str, inner: Callable[[Object, int], bool]) -> Rule:
    """A rule for every object in the list at `key`."""

    def rule(reply: Object, _known: Known) -> bool:
        items = reply.get(key)
        if not isinstance(items, list):
            return False
        changed = [inner(item, at) for at, item in enumerate(items) if isinstance(item, dict)]  # all, not the first
        return any(changed)

    return rule


def _fill_index(choice: Object, at: int) -> bool:
    if isinstance(choice.get("index"), int):
        return False
    choice["index"] = at
    return True


def _fill_role(choice: Object, _at: int) -> bool:
    message = choice.get("message")
    if not isinstance(message, dict) or message.get("role") == "assistant":
        return False
    message["role"] = "assistant"
    return True


def _join_content(choice: Object, _at: int) -> bool:
    """Text that comes in parts where one text is due."""
    message = choice.get("message", choice.get("delta"))
    parts = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(parts, list):
        return False
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        return False
    message["content"] = "".join(part["text"] for part in parts)
    return True


def _map_finish(choice: Object, _at: int) -> bool:
    """Another name for a reason to end."""
    reason = choice.get("finish_reason")
    if not isinstance(reason, str) or reason in _REASONS:
        return False
    choice["finish_reason"] = FINISH_REASONS.get(reason.lower(), "stop")
    return True


def _fill_finish(choice: Object, _at: int) -> bool:
    """A whole reply without a reason to end is all there is."""
    if choice.get("finish_reason") is not None:
        return False
    message = choice.get("message")
    calls = isinstance(message, dict) and bool(message.get("tool_calls"))
    choice["finish_reason"] = "tool_calls" if calls else "stop"
    return True


def _finish_with_calls(choice: Object, _at: int) -> bool:
    """A choice that calls tools ends with `tool_calls`, which is what agents look at."""
    message = choice.get("message")
    calls = isinstance(message, dict) and bool(message.get("tool_calls"))
    if not calls or choice.get("finish_reason") != "stop":
        return False
    choice["finish_reason"] = "tool_calls"
    return True


def _calls(choice: Object) -> list[Object]:
    message = choice.get("message", choice.get("delta"))
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _fill_call_id(choice: Object, _at: int) -> bool:
    missing = [(at, call) for at, call in enumerate(_calls(choice)) if not isinstance(call.get("id"), str)]
    for at, call in missing:
        call["id"] = f"call_{at}"
    return bool(missing)


def _fill_call_type(choice: Object, _at: int) -> bool:
    missing = [call for call in _calls(choice) if "function" in call and call.get("type") != "function"]
    for call in missing:
        call["type"] = "function"
    return bool(missing)


def _spell_arguments(choice: Object, _at: int) -> bool:
    """Arguments that come as an object, where the JSON text of one is due."""
    functions = [call["function"] for call in _calls(choice) if isinstance(call.get("function"), dict)]
    objects = [function for function in functions if isinstance(function.get("arguments"), dict)]
    for function in objects:
        function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    return bool(objects)


def _fill_logprobs(choice: Object, _at: int) -> bool:
    """The bytes and alternatives of a token's probability, which some leave out where there are none."""
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    changed = False
    for token in tokens if isinstance(tokens, list) else []:
        if isinstance(token, dict) and "top_logprobs" not in token:
            token["top_logprobs"] = []
            changed = True
    return changed


def _fill_call_index(choice: Object, _at: int) -> bool:
    """The place in the list; where it is left out, there is one call at a time."""
    missing = [(at, call) for at, call in enumerate(_calls(choice)) if not isinstance(call.get("index"), int)]
    for at, call in missing:
        call["index"] = at
    return bool(missing)


def _fill_delta(choice: Object, _at: int) -> bool:
    """An empty delta, for a choice that has nothing more to say than how it ended."""
    if isinstance(choice.get("delta"), dict):
        return False
    choice["delta"] = {}
    return True


def _fill_choices(reply: Object, _known: Known) -> bool:
    """No choices, in a chunk that carries the usage only."""
    if isinstance(reply.get("choices"), list) or not isinstance(reply.get("usage"), dict):
        return False
    reply["choices"] = []
    return True


_CHOICE: dict[str, Callable[[Object, int], bool]] = {
    "fill-index": _fill_index,
    "join-content": _join_content,
    "map-finish-reason": _map_finish,
    "spell-arguments": _spell_arguments,
    "fill-logprobs": _fill_logprobs,
}
_HEAD: dict[str, Rule] = {"fill-id": fill_id, "fill-created": fill_created, "fill-model": fill_model}
_CHAT: dict[str, Rule] = {
    **_HEAD,
    **{name: _each("choices", rule) for name, rule in _CHOICE.items()},
    "fill-usage-total": fill_usage_total,
}


def _fill_owner(model: Object, _at: int) -> bool:
    if isinstance(model.get("owned_by"), str):
        return False
    model["owned_by"] = str(model.get("organization") or "unknown")
    return True


def _fill_model_created(model: Object, _at: int) -> bool:
    """0, the start of time: a date nobody told must not look like one, nor change between calls."""
    if isinstance(model.get("created"), int) and not isinstance(model["created"], bool):
        return False
    model["created"] = int(model["created"]) if isinstance(model.get("created"), float) else 0
    return True


def _fix_model_object(model: Object, _at: int) -> bool:
    changed = model.get("object") != "model"
    model["object"] = "model"
    return changed


def _alone(inner: Callable[[Object, int], bool]) -> Rule:
    return lambda reply, _known: inner(reply, 0)


_MODEL: dict[str, Callable[[Object, int], bool]] = {
    "fix-model-object": _fix_model_object,
    "fill-created": _fill_model_created,
    "fill-owner": _fill_owner,
}
_ROLE = {"fill-role": _each("choices", _fill_role)}
_ENDED = {"fill-finish-reason": _each("choices", _fill_finish)}
_WHOLE = {
    **_ENDED,
    "fill-tool-call-id": _each("choices", _fill_call_id),
    "fill-tool-call-type": _each("choices", _fill_call_type),
    "finish-with-calls": _each("choices", _finish_with_calls),
}
# What a stream says piece by piece is for conform/stream.py; here only each piece's own shape is mended.
_PIECE = {
    "fill-choices": _fill_choices,
    "fill-delta": _each("choices", _fill_delta),
    "fill-tool-call-index": _each("choices", _fill_call_index),
}

# By the name of the model that the reply is to be.
RULES: dict[str, dict[str, Rule]] = {
    "CreateChatCompletionResponse": {"fix-object": fix_object("chat.completion"), **_CHAT, **_ROLE, **_WHOLE},
    "CreateChatCompletionStreamResponse": {"fix-object": fix_object("chat.completion.chunk"), **_PIECE, **_CHAT},
    "CreateCompletionResponse": {"fix-object": fix_object("text_completion"), **_CHAT, **_ENDED},
    "CreateCompletionStreamResponse": {
        "fix-object": fix_object("text_completion"),
        "fill-choices": _fill_choices,
        **_CHAT,
    },
    "CreateEmbeddingResponse": {
        "fix-object": fix_object("list"),
        "fill-model": fill_model,
        "fill-index": _each("data", _fill_index),
        "fill-usage-total": fill_usage_total,
    },
    "ListModelsResponse": {
        "fix-object": fix_object("list"),
        **{name: _each("data", rule) for name, rule in _MODEL.items()},
    },
    "Model": {name: _alone(rule) for name, rule in _MODEL.items()},
}
