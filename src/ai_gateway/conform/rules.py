"""What may be mended in an upstream's reply, rule by rule.

Each rule looks at one kind of object, changes it in place and says whether it did. A rule mends what has one honest
meaning: it fills in what the gateway knows itself, and spells right what is only spelled otherwise. Words, calls and
counts are never made up. `docs/conformance.md` lists the rules by name.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from ai_gateway.conform import choices
from ai_gateway.conform.choices import ItemRule, Object


@dataclass(frozen=True, slots=True)
class Known:
    """What the gateway knows about a reply before it comes: which model was asked, and in which request."""

    model: str
    request_id: str


type Rule = Callable[[Object, Known], bool]


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
    reply["created"] = int(created if isinstance(created, float) and isfinite(created) else time.time())
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


def spell_usage(reply: Object, _known: Known) -> bool:
    """Counts under the names that other APIs have for them."""
    usage = reply.get("usage")
    if not isinstance(usage, dict) or "prompt_tokens" in usage or not isinstance(usage.get("input_tokens"), int):
        return False
    usage["prompt_tokens"] = usage.pop("input_tokens")
    if isinstance(usage.get("output_tokens"), int) and "completion_tokens" not in usage:
        usage["completion_tokens"] = usage.pop("output_tokens")
    return True


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


def _each(key: str, inner: ItemRule) -> Rule:
    """A rule for every object in the list at `key`."""

    def rule(reply: Object, _known: Known) -> bool:
        items = reply.get(key)
        if not isinstance(items, list):
            return False
        changed = [inner(item, at) for at, item in enumerate(items) if isinstance(item, dict)]  # all, not the first
        return any(changed)

    return rule


def _fill_choices(reply: Object, _known: Known) -> bool:
    """No choices, in a chunk that carries the usage only."""
    if isinstance(reply.get("choices"), list) or not isinstance(reply.get("usage"), dict):
        return False
    reply["choices"] = []
    return True


_CHOICE: dict[str, ItemRule] = {
    "fill-index": choices.fill_index,
    "join-content": choices.join_content,
    "map-finish-reason": choices.map_finish,
    "spell-arguments": choices.spell_arguments,
    "fill-logprobs": choices.fill_logprobs,
}
_HEAD: dict[str, Rule] = {"fill-id": fill_id, "fill-created": fill_created, "fill-model": fill_model}
_CHAT: dict[str, Rule] = {
    **_HEAD,
    **{name: _each("choices", rule) for name, rule in _CHOICE.items()},
    "spell-usage": spell_usage,
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
    told = model.get("created")
    model["created"] = int(told) if isinstance(told, float) and isfinite(told) else 0
    return True


def _fix_model_object(model: Object, _at: int) -> bool:
    changed = model.get("object") != "model"
    model["object"] = "model"
    return changed


def _fix_vector_object(item: Object, _at: int) -> bool:
    changed = item.get("object") != "embedding"
    item["object"] = "embedding"
    return changed


def _alone(inner: ItemRule) -> Rule:
    return lambda reply, _known: inner(reply, 0)


_MODEL: dict[str, ItemRule] = {
    "fix-model-object": _fix_model_object,
    "fill-created": _fill_model_created,
    "fill-owner": _fill_owner,
}
_ROLE = {"fill-role": _each("choices", choices.fill_role)}
_ENDED = {"fill-finish-reason": _each("choices", choices.fill_finish)}
_WHOLE = {
    **_ENDED,
    "fill-tool-call-id": lambda reply, known: choices.fill_call_ids(reply, known.request_id),
    "fill-arguments": _each("choices", choices.fill_arguments),
    "fill-tool-call-type": _each("choices", choices.fill_call_type),
    "finish-with-calls": _each("choices", choices.finish_with_calls),
}
# What a stream says piece by piece is for conform/stream.py; here only each piece's own shape is mended.
_PIECE = {
    "fill-choices": _fill_choices,
    "message-as-delta": _each("choices", choices.message_as_delta),
    "fill-delta": _each("choices", choices.fill_delta),
    "fill-tool-call-index": _each("choices", choices.fill_call_index),
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
        "fix-item-object": _each("data", _fix_vector_object),
        "fill-index": _each("data", choices.fill_index),
        "fill-usage-total": fill_usage_total,
    },
    "ListModelsResponse": {
        "fix-object": fix_object("list"),
        **{name: _each("data", rule) for name, rule in _MODEL.items()},
    },
    "Model": {name: _alone(rule) for name, rule in _MODEL.items()},
}
