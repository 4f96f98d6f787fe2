"""The repair rules for each kind of reply: functions that change an object in place and return whether they did.

A repair fills in facts that the gateway knows itself, or corrects the form of a value. Texts, calls and counts are
never invented.
"""

import re
import time
from collections.abc import Callable, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from math import isfinite

from pydantic import BaseModel

from ai_gateway.conform import choices, rules
from ai_gateway.conform.choices import ItemRepair, Object
from ai_gateway.conform.rules import Rule
from gateway_contract.openai import models


@dataclass(slots=True)
class ReplyContext:
    """The facts known about a reply in advance: the requested model and the request's id.

    For a stream, `content_fields` has the fields with content so far, by the choice's index.
    """

    model: str
    request_id: str
    content_fields: Mapping[int, AbstractSet[str]] = field(default_factory=dict)


_DIGITS = re.compile(r"[0-9]{1,15}")

_NOTHING: AbstractSet[str] = frozenset()

type Repair = Callable[[Object, ReplyContext], bool]


def fill_id(reply: Object, context: ReplyContext) -> bool:
    """Set a missing id, made from the request's."""
    if isinstance(reply.get("id"), str) and reply["id"]:
        return False
    reply["id"] = f"chatcmpl-{context.request_id}"
    return True


def fill_created(reply: Object, _context: ReplyContext) -> bool:
    """Set a missing time to that of arrival, or round the upstream's to whole seconds."""
    created = reply.get("created")
    if isinstance(created, int) and not isinstance(created, bool):
        return False
    reply["created"] = int(created if isinstance(created, float) and isfinite(created) else time.time())
    return True


def fill_model(reply: Object, context: ReplyContext) -> bool:
    """Set a missing model to the requested one."""
    if isinstance(reply.get("model"), str) and reply["model"]:
        return False
    reply["model"] = context.model
    return True


def fix_object(name: str) -> Repair:
    """A rule that sets the object's type, which follows from the operation."""

    def rule(reply: Object, _context: ReplyContext) -> bool:
        changed = reply.get("object") != name
        reply["object"] = name
        return changed

    return rule


def spell_usage(reply: Object, _context: ReplyContext) -> bool:
    """Rename counts from other APIs' names, and convert strings of digits to numbers."""
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return False
    digits = [name for name, count in usage.items() if isinstance(count, str) and _DIGITS.fullmatch(count)]
    for name in digits:
        usage[name] = int(usage[name])
    if "prompt_tokens" in usage or not isinstance(usage.get("input_tokens"), int):
        return bool(digits)
    usage["prompt_tokens"] = usage.pop("input_tokens")
    if isinstance(usage.get("output_tokens"), int) and "completion_tokens" not in usage:
        usage["completion_tokens"] = usage.pop("output_tokens")
    return True


def fill_usage_total(reply: Object, _context: ReplyContext) -> bool:
    """Compute the missing one of two counts and their total."""
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return False
    total, prompt = usage.get("total_tokens"), usage.get("prompt_tokens")
    if isinstance(total, int):
        if usage.get("completion_tokens", 0) is not None or not isinstance(prompt, int) or prompt > total:
            return False
        usage["completion_tokens"] = total - prompt
        return True
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens", 0)]
    if not all(isinstance(count, int) for count in counts):
        return False
    usage["total_tokens"] = sum(counts)
    return True


def _each(key: str, inner: ItemRepair) -> Repair:
    """A rule that applies `inner` to every object in the list at `key`."""

    def rule(reply: Object, _context: ReplyContext) -> bool:
        items = reply.get(key)
        if not isinstance(items, list):
            return False
        changed = [inner(item, at) for at, item in enumerate(items) if isinstance(item, dict)]  # all, not the first
        return any(changed)

    return rule


def _fill_choices(reply: Object, _context: ReplyContext) -> bool:
    """Set missing choices to an empty list, in a chunk with usage only or with null choices."""
    if reply.get("choices") is not None or not ("choices" in reply or isinstance(reply.get("usage"), dict)):
        return False
    reply["choices"] = []
    return True


def drop_summary(reply: Object, context: ReplyContext) -> bool:
    """Remove a whole message after its deltas that only repeats them; new content in it stays."""
    pieces = reply.get("choices")
    changed = False
    for at, choice in enumerate(pieces if isinstance(pieces, list) else ()):
        message = choice.get("message") if isinstance(choice, dict) else None
        index = choice.get("index", at) if isinstance(choice, dict) else None
        sent_fields = context.content_fields.get(index, _NOTHING) if isinstance(index, int) else _NOTHING
        again = message.keys() & sent_fields - {"role"} if isinstance(message, dict) else ()
        if isinstance(message, dict) and again:
            choice["message"] = {name: value for name, value in message.items() if name not in again}
            changed = True
    return changed


def _fill_usage(reply: Object, _context: ReplyContext) -> bool:
    if isinstance(reply.get("usage"), dict) or not isinstance(reply.get("data"), list):
        return False
    reply["usage"] = {"prompt_tokens": 0, "total_tokens": 0}
    return True


_CHOICE: dict[Rule, ItemRepair] = {
    rules.FILL_INDEX: choices.fill_index,
    rules.DROP_NULL: choices.drop_empty,
    rules.JOIN_CONTENT: choices.join_content,
    rules.LIST_CALLS: choices.list_calls,
    rules.MAP_FINISH_REASON: choices.map_finish,
    rules.TELL_UNKNOWN_FINISH: choices.tell_unknown_finish,
    rules.SPELL_ARGUMENTS: choices.spell_arguments,
    rules.FILL_LOGPROBS: choices.fill_logprobs,
}
_HEAD: dict[Rule, Repair] = {rules.FILL_ID: fill_id, rules.FILL_CREATED: fill_created, rules.FILL_MODEL: fill_model}
_CHAT: dict[Rule, Repair] = {
    **_HEAD,
    **{name: _each("choices", rule) for name, rule in _CHOICE.items()},
    rules.SPELL_USAGE: spell_usage,
    rules.FILL_USAGE_TOTAL: fill_usage_total,
}


def _fill_owner(model: Object, _at: int) -> bool:
    if isinstance(model.get("owned_by"), str):
        return False
    model["owned_by"] = str(model.get("organization") or "unknown")
    return True


def _fill_model_created(model: Object, _at: int) -> bool:
    """Set a missing time to 0: an unknown date must be recognisable, and the same in each reply."""
    if isinstance(model.get("created"), int) and not isinstance(model["created"], bool):
        return False
    created = model.get("created")
    model["created"] = int(created) if isinstance(created, float) and isfinite(created) else 0
    return True


def _fix_model_object(model: Object, _at: int) -> bool:
    changed = model.get("object") != "model"
    model["object"] = "model"
    return changed


def _fix_vector_object(item: Object, _at: int) -> bool:
    changed = item.get("object") != "embedding"
    item["object"] = "embedding"
    return changed


def _alone(inner: ItemRepair) -> Repair:
    return lambda reply, _context: inner(reply, 0)


_MODEL: dict[Rule, ItemRepair] = {
    rules.FIX_MODEL_OBJECT: _fix_model_object,
    rules.FILL_CREATED: _fill_model_created,
    rules.FILL_OWNER: _fill_owner,
}
_ROLE = {rules.FILL_ROLE: _each("choices", choices.fill_role)}
_ENDED = {rules.FILL_FINISH_REASON: _each("choices", choices.fill_finish)}
_WHOLE = {
    **_ENDED,
    rules.FILL_CALL_ID: lambda reply, context: choices.fill_call_ids(reply, context.request_id),
    rules.FILL_ARGUMENTS: _each("choices", choices.fill_arguments),
    rules.FILL_CALL_TYPE: _each("choices", choices.fill_call_type),
}
# Only the shape of single chunks is repaired here; conform/stream_state.py handles their sequence.
_PIECE: dict[Rule, Repair] = {
    rules.FILL_CHOICES: _fill_choices,
    rules.DROP_SUMMARY: drop_summary,
    rules.MESSAGE_AS_DELTA: _each("choices", choices.message_as_delta),
    rules.FILL_DELTA: _each("choices", choices.fill_delta),
    rules.FILL_CALL_INDEX: _each("choices", choices.fill_call_index),
    rules.FILL_CALL_TYPE: _each("choices", choices.drop_call_type),
}

# By the model of the reply.
REPAIRS: dict[type[BaseModel], dict[Rule, Repair]] = {
    models.CreateChatCompletionResponse: {rules.FIX_OBJECT: fix_object("chat.completion"), **_CHAT, **_ROLE, **_WHOLE},
    models.CreateChatCompletionStreamResponse: {
        rules.FIX_OBJECT: fix_object("chat.completion.chunk"),
        **_PIECE,
        **_CHAT,
    },
    models.CreateCompletionResponse: {rules.FIX_OBJECT: fix_object("text_completion"), **_CHAT, **_ENDED},
    models.CreateCompletionStreamResponse: {
        rules.FIX_OBJECT: fix_object("text_completion"),
        rules.FILL_CHOICES: _fill_choices,
        rules.FILL_TEXT: _each("choices", choices.fill_text),
        **_CHAT,
    },
    models.CreateEmbeddingResponse: {
        rules.FIX_OBJECT: fix_object("list"),
        rules.FILL_MODEL: fill_model,
        rules.FIX_ITEM_OBJECT: _each("data", _fix_vector_object),
        rules.FILL_INDEX: _each("data", choices.fill_index),
        rules.SPELL_USAGE: spell_usage,
        rules.FILL_USAGE: _fill_usage,
        rules.FILL_USAGE_TOTAL: fill_usage_total,
    },
    models.ListModelsResponse: {
        rules.FIX_OBJECT: fix_object("list"),
        **{name: _each("data", rule) for name, rule in _MODEL.items()},
    },
    models.Model: {name: _alone(rule) for name, rule in _MODEL.items()},
}
