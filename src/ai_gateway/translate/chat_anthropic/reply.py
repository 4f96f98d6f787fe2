"""A reply of the Messages API in OpenAI's terms.

Beside OpenAI's fields a message has, where there is something to hold: `reasoning_content`, the thinking as text;
`thinking_blocks`, the same with its signatures, to be sent back; `citations` as they came; and `other_blocks`, of kinds
that OpenAI's API has no place for.
"""

from contextlib import suppress
from datetime import datetime

from pydantic_core import to_json

from ai_gateway.translate.wires.anthropic import Block, Delta, Message, ModelInfo, StopDetails, Usage

type Object = dict[str, object]

THOUGHTS = ("thinking", "redacted_thinking")
# A turn that the API paused is not complete, and `length` is how OpenAI's says so.
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_TIERS = {"standard": "default", "priority": "priority"}


def to_chat(reply: Message, now: int) -> Object:
    """The reply as OpenAI's object; the shape is right, and what the upstream left out is still missing."""
    choice = {
        "index": 0,
        "message": _message(reply),
        "logprobs": None,
        "finish_reason": finish(reply.stop_reason),
        **beside(stop_sequence=reply.stop_sequence),
    }
    found: Object = {
        "id": reply.id,
        "object": "chat.completion",
        "created": now,
        "model": reply.model,
        "choices": [choice],
    }
    if reply.usage.is_known:
        found["usage"] = usage(reply.usage)
    return found | tier(reply.usage) | beside(container=reply.container)


def finish(reason: str | None) -> str | None:
    """OpenAI's name for why the answer ended; one that nobody knows stays as it is."""
    return _FINISH.get(reason, reason) if reason is not None else None


def refusal(reason: str | None, details: StopDetails | None) -> str | None:
    """What the model said when it declined, if it did."""
    return details.explanation if reason == "refusal" and details is not None else None


def usage(counts: Usage) -> Object:
    """The prompt's tokens are all of them: the API counts those apart that went into its cache or came from it."""
    read, written = counts.cache_read_input_tokens or 0, counts.cache_creation_input_tokens or 0
    prompt, completion = (counts.input_tokens or 0) + read + written, counts.output_tokens or 0
    found: Object = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    if counts.output_tokens_details is not None and counts.output_tokens_details.thinking_tokens is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": counts.output_tokens_details.thinking_tokens}
    return found | beside(server_tool_use=counts.server_tool_use)


def beside(**fields: object) -> Object:
    """Those of the API's own fields that say something: OpenAI's objects are open for more."""
    return {name: value for name, value in fields.items() if value is not None}


def tier(counts: Usage) -> Object:
    """The tier that served the request, where OpenAI's API has a name for it."""
    found = _TIERS.get(counts.service_tier or "")
    return {"service_tier": found} if found else {}


def plain(item: Block | Delta) -> Object:
    """The block, or what is added to it, as it came."""
    return item.model_dump(exclude_unset=True) if item.unread is None else item.unread


def annotations(citations: list[Object], start: int, end: int) -> list[Object]:
    """Citations of pages, for the text from `start` to `end`."""
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
    """OpenAI's description of a model; a date that is missing or no date is left to be mended."""
    found: Object = {"id": info.id, "object": "model", "owned_by": "anthropic"}
    with suppress(ValueError, OverflowError):
        found["created"] = max(0, int(datetime.fromisoformat(info.created_at or "").timestamp()))
    return found


def _message(reply: Message) -> Object:
    said = ""
    cited: list[Object] = []
    noted: list[Object] = []
    calls: list[Object] = []
    for block in reply.content:
        if block.type == "text":
            cited += block.citations or []
            noted += annotations(block.citations or [], len(said), len(said) + len(block.text))
            said += block.text
        elif block.type == "tool_use":
            calls.append(_call(block))
    message: Object = {
        "role": "assistant",
        "content": said or (None if calls else ""),
        "refusal": refusal(reply.stop_reason, reply.stop_details),
        "annotations": noted,
    }
    if calls:
        message["tool_calls"] = calls
    thought = [block for block in reply.content if block.type in THOUGHTS]
    known = ("text", "tool_use", *THOUGHTS)
    more: Object = {
        "reasoning_content": "".join(block.thinking for block in thought),
        "thinking_blocks": [plain(block) for block in thought],
        "citations": cited,
        "other_blocks": [plain(block) for block in reply.content if block.type not in known],
    }
    return message | {name: value for name, value in more.items() if value}


def _call(block: Block) -> Object:
    function = {"name": block.name, "arguments": to_json(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}
