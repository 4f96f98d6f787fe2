"""Errors and rate-limit headers of the Messages API, mapped to ours."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic_core import to_json

from ai_gateway.errors import GatewayError, UpstreamOverloaded, UpstreamTimeout
from ai_gateway.providers.http.error_body import parse_error_body
from ai_gateway.providers.http.errors import LONGEST_HEADER, from_event, from_reply, kept_headers

# Error types by their status, for errors inside a stream of status 200 (docs.anthropic.com "Errors").
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_LIMIT = re.compile(r"anthropic-ratelimit-(requests|tokens)-(limit|remaining|reset)")
_OWN = "anthropic-ratelimit-"
# Messages begin with the wrong field of the translated request; OpenAI's name of the field it was made from:
_PLACE = re.compile(r"(model|messages|system|tools|tool_choice|temperature|top_p|max_tokens|stop_sequences)\b[^\s:]*: ")
_PARAMS = {"system": "messages", "stop_sequences": "stop"}


def reply_error(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error for a reply whose status is not 2xx."""
    kept = limits(headers)
    error = from_reply(provider, status, headers, body).with_headers(kept)
    if status == 529:
        overloaded = UpstreamOverloaded(
            f"Provider '{provider}' is overloaded. Try again.", headers=kept, detail=error.detail
        )
        return overloaded.answered(status)
    if status == 504:
        return UpstreamTimeout.of(provider, headers=kept, detail=error.detail).answered(status)
    place = _PLACE.match(parse_error_body(body).message or "") if status == 400 else None
    if place is not None and error.param is None:
        error.param = _PARAMS.get(place[1], place[1])
    return error


def event_error(provider: str, value: Mapping[str, object]) -> GatewayError:
    """The error for an event, or a reply with status 200, that is an error in itself."""
    inner = value.get("error")
    status = _STATUSES.get(str(inner.get("type"))) if isinstance(inner, dict) else None
    if status is None:
        return from_event(provider, value)
    return reply_error(provider, status, {}, to_json(value))


def limits(headers: Mapping[str, str], now: datetime | None = None) -> dict[str, str]:
    """The headers for a client: the API's own, and the equivalent ones of OpenAI.

    A reset is a duration in OpenAI's headers, a time in those of the Messages API.
    """
    found = kept_headers(headers)
    for name, value in headers.items():
        if not name.lower().startswith(_OWN) or len(value) > LONGEST_HEADER:
            continue
        found[name.lower()] = value
        match = _LIMIT.fullmatch(name.lower())
        translated = _left(value, now or datetime.now(UTC)) if match and match[2] == "reset" else value
        if match and translated:
            found.setdefault(f"x-ratelimit-{match[2]}-{match[1]}", translated)
    return found


def _left(at: str, now: datetime) -> str | None:
    try:
        then = datetime.fromisoformat(at)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return f"{max(0, round((then - now).total_seconds()))}s"
