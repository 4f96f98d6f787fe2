"""The wire of Anthropic's API: its error envelope, its statuses, and the headers that its clients read."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from ai_gateway.contract.call import OWN_ID, OwnText
from ai_gateway.contract.framing import EVENTS_PING
from ai_gateway.contract.prompt_limits import LONGEST_LOOKED_AT, too_long
from ai_gateway.contract.wire import Headers, Wire
from ai_gateway.errors import GatewayError, InvalidRequest, UpstreamError, UpstreamOverloaded, UpstreamRefused

VERSION_HEADER: Final = "anthropic-version"
"""A header that clients of this API send with every request, and clients of other APIs never."""

_VERSION: Final = VERSION_HEADER.encode()
# Path segments of this API alone: of served operations, of former ones (/v1/complete), of its administration.
_OWN_STEPS: Final = frozenset({"messages", "complete", "organizations"})
_OPENAIS_STEPS: Final = frozenset({"threads", "uploads"})  # below these, `messages` and `complete` are OpenAI's

# docs.anthropic.com, "Errors". Other statuses are invalid_request_error below 500, and api_error from there on.
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OVERLOADED = 529
_MAX_WAIT_S = 86_400
_EXTRA = "Extra inputs are not permitted"
_FIELD = re.compile(r"[a-z_]+(?:\.[a-z_]+)*")
_REFUSALS = frozenset({400, 413, 422})
# OpenAI's names of request fields, and this wire's names of the same.
_PLACES: Final[Mapping[str, str]] = {
    "stop": "stop_sequences",
    "max_completion_tokens": "max_tokens",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
}
_UNKNOWN_FIELD = re.compile(
    r"(?:unrecognized request argument supplied|unknown (?:parameter|field)):? ['\"]?(\w[\w.]*)",
    re.IGNORECASE,
)
_LIMITS = "x-ratelimit-"
_LIMIT = re.compile(_LIMITS + r"(limit|remaining|reset)-(requests|tokens)")
_SPAN = re.compile(
    r"(?:(?P<h>\d{1,6})h)?(?:(?P<m>\d{1,6})m(?!s))?(?:(?P<s>\d{1,9}(?:\.\d{1,9})?)s)?(?:(?P<ms>\d{1,9})ms)?"
)


def anthropic_error(error: GatewayError, request_id: str) -> bytes:
    """The error envelope, worded as clients of this API expect it."""
    kind = _TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")
    body = {
        "type": "error",
        "error": {**error.extras, "type": kind, "message": _words(error)},
        "request_id": request_id or None,
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def known_as(error: GatewayError) -> GatewayError:
    """The error with this wire's own status for overload (529), after which clients wait.

    529 is also relayed by many routers.
    """
    is_overloaded = isinstance(error, UpstreamOverloaded) or (
        isinstance(error, UpstreamError) and error.upstream_status == _OVERLOADED
    )
    return error.changed(status=_OVERLOADED) if is_overloaded else error


def claims(steps: Sequence[str], headers: Headers) -> bool:
    """Whether the request is one for this API: by its header, or by a path segment that only this API has."""
    if any(name == _VERSION for name, _ in headers):
        return True
    return not _OWN_STEPS.isdisjoint(steps) and _OPENAIS_STEPS.isdisjoint(steps)


def own_headers(headers: Mapping[str, str], request_id: str) -> dict[str, str]:
    """The request's id, seconds to wait as a whole number, and limits under Anthropic's names.

    A reset is a time here (RFC 3339), and a duration in OpenAI's headers.
    """
    own = {}
    if request_id:
        own["request-id"] = OwnText(request_id) if OWN_ID.fullmatch(request_id) is not None else request_id
    wait = headers.get("retry-after")
    if wait is not None and not wait.isdecimal():
        own["retry-after"] = str(_whole_seconds(wait))
    elif wait is None and (milliseconds := headers.get("retry-after-ms", "")).isdecimal():
        own["retry-after"] = str(min(math.ceil(int(milliseconds[:12]) / 1000), _MAX_WAIT_S))
    for name, value in headers.items():
        match = _LIMIT.fullmatch(name) if name.startswith(_LIMITS) else None
        if match is not None and (translated := _time_after(value) if match[1] == "reset" else value):
            own[f"anthropic-ratelimit-{match[2]}-{match[1]}"] = translated
    return own


def _words(error: GatewayError) -> str:
    if (limit := too_long(error, is_refusal=error.status in _REFUSALS)) is not None:
        return limit
    if error.status not in _REFUSALS:
        return error.message
    if isinstance(error, UpstreamRefused):
        return _upstreams_words(error)
    if error.status != 400 or not error.param:
        return error.message
    # As the official service words it, and as clients parse it: the place with dots, then what is wrong there.
    place = re.sub(r"\[(\d+)\]", r".\1", error.param)
    if isinstance(error, InvalidRequest) and error.code == "unknown_parameter":
        return f"{place}: {_EXTRA}"
    return error.message if error.message.startswith(place) else f"{place}: {error.message}"


def _upstreams_words(error: UpstreamRefused) -> str:
    """The message of an upstream of another wire, with the field under the name that callers of this wire know."""
    message = error.message[:LONGEST_LOOKED_AT]
    unknown = _UNKNOWN_FIELD.search(message)
    param = error.param or (unknown[1] if unknown is not None else None)
    if not param or not _FIELD.fullmatch(param):
        return error.message
    place = _PLACES.get(param, param)
    is_unknown = error.code == "unknown_parameter" or (unknown is not None and unknown[1] == param) or _EXTRA in message
    if is_unknown:
        return f"{place}: {_EXTRA}"
    return error.message if error.message.startswith(place) else f"{place}: {error.message}"


def _whole_seconds(wait: str) -> int:
    """Seconds, rounded up, of a number or of a date (RFC 9110, section 10.2.3); a second where it is neither."""
    try:
        return max(0, min(math.ceil(float(wait)), _MAX_WAIT_S))
    except (ValueError, OverflowError):
        pass
    try:
        then = datetime.strptime(wait, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return 1
    return max(0, min(math.ceil((then - datetime.now(UTC)).total_seconds()), _MAX_WAIT_S))


def _time_after(span: str) -> str | None:
    match = _SPAN.fullmatch(span)
    if match is None or not span:
        return None
    parts = {unit: float(value) for unit, value in match.groupdict().items() if value}
    seconds = 3600 * parts.get("h", 0) + 60 * parts.get("m", 0) + parts.get("s", 0) + parts.get("ms", 0) / 1000
    try:
        then = datetime.now(UTC) + timedelta(seconds=math.ceil(seconds))
    except OverflowError:
        return None
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


ANTHROPIC: Final = Wire(
    "anthropic",
    anthropic_error,
    EVENTS_PING,
    carries=True,
    known_as=known_as,
    own_headers=own_headers,
    claims=claims,
)
