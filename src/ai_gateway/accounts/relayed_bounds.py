"""Bounds of relayed requests (see `bounds`): OpenAI's Responses API and Anthropic's Messages API."""

from collections.abc import Mapping

from ai_gateway.accounts.bounds import FOR_TOOLS, PER_IMAGE, PER_MESSAGE, Bound
from ai_gateway.accounts.price import MAX_SEARCHES

# The fields with parts, the types of parts that are not text, and the fields with their bytes.
_CONTENTS = ("content", "output", "source", "input_audio")
_MEDIA = ("image", "file", "audio", "document", "base64", "url")
_DATA = ("data", "image_url", "file_data")
# Fields that refer to content outside of the request, which only the model limits.
_ELSEWHERE = ("file_id", "file_url", "id", "container", "vector_store_ids")
_PLAIN = frozenset({"message", "text", "input_text", "output_text", "function_call", "function_call_output"})


def relayed_bound(fields: Mapping[str, object], size: int) -> Bound:
    """The bound of a request with a body of this size."""
    tokens, is_open = size + FOR_TOOLS, any(fields.get(name) for name in ("prompt", "conversation", "container"))
    pending: list[object] = [fields.get("input"), fields.get("messages"), fields.get("system")]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
            tokens += PER_MESSAGE * len(value)
        elif isinstance(value, dict):
            pending.extend(value[name] for name in _CONTENTS if name in value)
            more, has_more = _beyond_text(value)
            tokens, is_open = tokens + more, is_open or has_more
    tools = fields.get("tools")
    kinds = [str(tool.get("type")) for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    tier = fields.get("service_tier")
    return Bound(
        max(tokens + PER_MESSAGE * len(kinds), 0),
        _output(fields),
        service_tier=tier if isinstance(tier, str) else None,
        searches=MAX_SEARCHES if any("search" in kind for kind in kinds) else 0,
        is_open=is_open,
    )


def _output(fields: Mapping[str, object]) -> int | None:
    """The largest output limit, since it is unknown which one the upstream reads; None without one."""
    stated = [fields.get(name) for name in ("max_output_tokens", "max_tokens", "max_completion_tokens")]
    limits = [limit for limit in stated if type(limit) is int]
    return max(limits) if limits and min(limits) > 0 else None


def _beyond_text(part: Mapping[str, object]) -> tuple[int, bool]:
    """The tokens of a part that is not text, and whether only the model limits them."""
    kind = str(part.get("type"))
    if kind in _PLAIN or not any(media in kind for media in _MEDIA):
        return 0, False
    data = sum(len(value) for name in _DATA if isinstance(value := part.get(name), str))
    is_open = any(part.get(name) for name in _ELSEWHERE) or "file" in kind or "document" in kind
    return PER_IMAGE - data, is_open
