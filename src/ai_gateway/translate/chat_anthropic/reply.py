"""A response of the Messages API in OpenAI's format.

Beside OpenAI's fields a message may have `reasoning_content`, the thinking as text; `thinking_blocks`, the same with
its signatures, to be sent back; `citations`, unchanged; and `other_blocks`, of types without a counterpart in OpenAI's
API, and the extra fields of text.
"""

from contextlib import suppress
from datetime import datetime

from pydantic_core import to_json

from ai_gateway.translate.extra_fields import extra_fields, names_of, place
from ai_gateway.translate.wires.anthropic import (
    Block,
    Delta,
    Message,
    ModelInfo,
    StopDetails,
    Usage,
)
from gateway_contract.openai import models

type Object = dict[str, object]

THOUGHTS = ("thinking", "redacted_thinking")
# docs.anthropic.com "Handling stop reasons". A paused turn is incomplete, which OpenAI's API expresses as `length`.
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# Reasons without an exact equivalent in OpenAI's API: the original is added, because clients handle them differently.
_WITHOUT_EQUIVALENT = frozenset({"pause_turn", "model_context_window_exceeded"})
_TIERS = {"standard": "default", "priority": "priority"}
_RESPONSE = names_of(models.CreateChatCompletionResponse)
_CALL = names_of(models.ChatCompletionMessageToolCall)
_USAGE = names_of(models.CompletionUsage)
_MODEL = names_of(models.Model)
_USAGE_DETAILS = names_of(models.CompletionUsageCompletionTokensDetails)


def to_chat(reply: Message, now: int) -> Object:
    """The response as OpenAI's object, not conformed yet: fields that the upstream omitted are missing."""
    choice: Object = {
        "index": 0,
        "message": _message(reply),
        "logprobs": None,
        "finish_reason": finish(reply.stop_reason),
        **native(reply.stop_reason),
        **beside(stop_sequence=reply.stop_sequence, stop_details=details(reply.stop_details)),
    }
    response: Object = {
        "id": reply.id,
        "object": "chat.completion",
        "created": now,
        "model": reply.model,
        "choices": [choice],
    }
    if reply.usage.is_known:
        response["usage"] = usage(reply.usage)
    response |= tier(reply.usage) | beside(container=reply.container)
    place(extra_fields(reply), response, _RESPONSE)
    return response


def finish(reason: str | None) -> str | None:
    """OpenAI's finish reason; an unknown stop reason stays as it is."""
    return _FINISH.get(reason, reason) if reason is not None else None


def native(reason: str | None) -> Object:
    """The stop reason itself, if OpenAI's finish reason is ambiguous."""
    return {"native_finish_reason": reason} if reason in _WITHOUT_EQUIVALENT else {}


def refusal(reason: str | None, details: StopDetails | None) -> str | None:
    """The model's explanation, if it declined."""
    return details.explanation if reason == "refusal" and details is not None else None


def details(stop: StopDetails | None) -> Object | None:
    """Further details of the stop reason."""
    return (extra_fields(stop) or None) if stop is not None else None


def usage(counts: Usage) -> Object:
    """OpenAI's `prompt_tokens` is the total; `input_tokens` excludes cache reads and writes: docs "Prompt caching"."""
    read, written = counts.cache_read_input_tokens or 0, counts.cache_creation_input_tokens or 0
    prompt, completion = (counts.input_tokens or 0) + read + written, counts.output_tokens or 0
    result: Object = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    if (details := counts.output_tokens_details) is not None:
        fields = beside(reasoning_tokens=details.thinking_tokens)
        place(extra_fields(details), fields, _USAGE_DETAILS)
        result |= {"completion_tokens_details": fields} if fields else {}
    # The price of a cache write depends on how long the token stays in the cache.
    result |= beside(cache_creation=counts.cache_creation, server_tool_use=counts.server_tool_use)
    place(extra_fields(counts), result, _USAGE)
    return result


def beside(**fields: object) -> Object:
    """The API's own fields that are set: OpenAI's objects allow further fields."""
    return {name: value for name, value in fields.items() if value is not None}


def tier(counts: Usage) -> Object:
    """The service tier, if OpenAI's API has a name for it."""
    name = _TIERS.get(counts.service_tier or "")
    return {"service_tier": name} if name else {}


def plain(item: Block | Delta) -> Object:
    """The block or delta, unchanged."""
    if item.unread is not None:
        return item.unread
    return item.model_dump(exclude_unset=True, exclude={"extras"}) | item.extras


def text_fields(block: Block) -> list[Object]:
    """The extra fields of a text as one of the `other_blocks`: texts are joined, and each may have its own."""
    return [{"type": "text", **block.extras}] if block.extras else []


def annotations(citations: list[Object], start: int, end: int) -> list[Object]:
    """Citations of web pages, for the text from `start` to `end`."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": start,
                "end_index": end,
                "url": one["url"],
                "title": one.get("title") or one["url"],
            },
        }
        for one in citations
        if isinstance(one.get("url"), str)
    ]


def model_object(info: ModelInfo) -> Object:
    """OpenAI's description of a model; a missing or invalid date is left to the repair rules.

    Further fields of the API, such as `display_name` and `max_input_tokens`, keep their names.
    """
    model: Object = {"id": info.id, "object": "model", "owned_by": "anthropic"}
    with suppress(ValueError, OverflowError):
        model["created"] = max(0, int(datetime.fromisoformat(info.created_at or "").timestamp()))
    place({name: value for name, value in extra_fields(info, "type").items() if value is not None}, model, _MODEL)
    return model


def _message(reply: Message) -> Object:
    content = ""
    cited: list[Object] = []
    links: list[Object] = []
    calls: list[Object] = []
    for block in reply.content:
        if block.type == "text":
            cited += block.citations or []
            links += annotations(block.citations or [], len(content), len(content) + len(block.text))
            content += block.text
        elif block.type == "tool_use":
            calls.append(_call(block))
    message: Object = {
        "role": "assistant",
        "content": content or (None if calls else ""),
        "refusal": refusal(reply.stop_reason, reply.stop_details),
        "annotations": links,
    }
    if calls:
        message["tool_calls"] = calls
    thinking = [block for block in reply.content if block.type in THOUGHTS]
    known = ("tool_use", *THOUGHTS)
    more: Object = {
        "reasoning_content": "".join(block.thinking for block in thinking),
        "thinking_blocks": [plain(block) for block in thinking],
        "citations": cited,
        "other_blocks": [
            other
            for block in reply.content
            if block.type not in known
            for other in (text_fields(block) if block.type == "text" else [plain(block)])
        ],
    }
    return message | {name: value for name, value in more.items() if value}


def _call(block: Block) -> Object:
    function = {"name": block.name, "arguments": to_json(block.input).decode()}
    call: Object = {"id": block.id, "type": "function", "function": function}
    place(block.extras, call, _CALL)
    return call
