"""From anything an upstream can do wrong to the error a client is told: one total function for each kind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import (
    RETRY_HINT,
    GatewayError,
    UpstreamAuthError,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ai_gateway.providers.http.http1 import BrokenReply
from ai_gateway.redaction import strike

# What an upstream, or the way to it, can raise in the HTTP client. Anything else is a fault of our own.
CLIENT_FAILURES = (BrokenReply, aiohttp.ClientError, HttpProcessingError, OSError, EOFError)
# Refusals that the caller can mend. Everything else that an upstream answers is between it and the gateway.
KEPT_STATUSES = frozenset({400, 404, 409, 413, 422, 429})
# What clients look for, where an upstream gives no code: nothing but a model can be missing at these paths.
_USUAL_CODES = {404: "model_not_found", 429: "rate_limit_exceeded"}
# The statuses of names that upstreams give with status 200 or in a stream; what only the caller can mend speaks for no
# outage, and asking again changes nothing.
_MEANT = {
    "invalid_api_key": 401,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
    **dict.fromkeys(
        (
            "content_filter",
            "content_policy_violation",
            "context_length_exceeded",
            "invalid_prompt",
            "string_above_max_length",
            "unsupported_parameter",
            "unsupported_value",
        ),
        400,
    ),
}
_KEPT_HEADERS = ("retry-after", "retry-after-ms", RETRY_HINT)
_KEPT_PREFIX = "x-ratelimit-"
LONGEST_HEADER = 256
_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")
_LONGEST_MESSAGE = 2_000
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an upstream says went wrong, whatever shape it chose to say it in."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The upstream's headers that tell a client when to come back, unless they tell it nothing that can be read."""
    kept = {}
    for field, text in headers.items():
        name = field.lower()
        if name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIX):
            value = text.strip()
            if _is_readable(name, value):
                kept[name] = value
    return kept


def _is_readable(name: str, value: str) -> bool:
    """Whether a client can make use of it: short, and a time where a time is due."""
    if len(value) > LONGEST_HEADER:
        return False
    return not name.startswith("retry-after") or bool(_SECONDS.fullmatch(value)) or value.endswith("GMT")


def from_reply(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error for a reply whose status is not 2xx."""
    return _from_complaint(provider, status, headers, _clean(read_complaint(body)))


def _from_complaint(provider: str, status: int, headers: Mapping[str, str], complaint: Complaint) -> GatewayError:
    kept = kept_headers(headers)
    if status in {401, 403}:
        return UpstreamAuthError(
            f"Provider '{provider}' refused the gateway access: its operator has to check the key.",
            detail=f"status {status}",
        )
    if 300 <= status < 400:
        return UpstreamInvalidResponse.redirect(provider)
    if status in KEPT_STATUSES:
        return UpstreamRefused(
            complaint.message or f"Provider '{provider}' refused the request (status {status}).",
            status=status,
            type=complaint.type or ("requests" if status == 429 else "invalid_request_error"),
            code=complaint.code or _USUAL_CODES.get(status),
            param=complaint.param,
            headers=kept,
        )
    if status == 408:
        return UpstreamTimeout.of(provider, headers=kept).answered(status)
    if status < 500:
        # Between the upstream and the gateway's operator, such as an empty account: trying again changes nothing,
        # whatever the upstream says of it; the client is told so.
        error = UpstreamError(f"Provider '{provider}' refused the gateway: {complaint.message or f'status {status}'}")
        error.headers = {**kept, RETRY_HINT: "false"}
        return error.answered(status)
    return UpstreamError(f"Provider '{provider}' failed (status {status}). Try again.", headers=kept).answered(status)


def from_event(provider: str, value: object) -> GatewayError:
    """The error for a stream event, or a reply with status 200, that is an error in itself."""
    complaint = _clean(_complaint(value))
    status = _meant(complaint)
    if status is not None:
        return _from_complaint(provider, status, {}, complaint)
    return UpstreamError(f"Provider '{provider}' reported an error: {complaint.message or 'no reason given'}")


def _meant(complaint: Complaint) -> int | None:
    """The status that the complaint would have had as a reply, if it says so and the upstream is well."""
    code = complaint.code or ""
    if code.isdecimal():
        return int(code) if 400 <= int(code) < 500 else None
    return _MEANT.get(code, 400 if complaint.type == "invalid_request_error" else None)


def from_exception(provider: str, error: Exception) -> GatewayError:
    """The error for an exception of the HTTP client; errors of ours pass through."""
    if isinstance(error, GatewayError):
        return error
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, TimeoutError):  # aiohttp's timeouts are TimeoutErrors too
        return UpstreamTimeout.of(provider, detail=detail)
    if isinstance(error, BrokenReply | aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        return UpstreamInvalidResponse.garbled(provider, detail=detail)
    return UpstreamUnreachable.of(provider, detail=detail)


def is_error(value: object) -> bool:
    """Whether a JSON value that came with status 200 is an error all the same."""
    if not isinstance(value, dict):
        return False
    return (isinstance(value.get("error"), dict | str) and bool(value["error"])) or value.get("object") == "error"


def read_complaint(body: bytes) -> Complaint:
    """Nested (`{"error": {...}}`), flat, string and FastAPI dialects; anything else says nothing."""
    try:
        return _complaint(read_json(body))
    except ValueError:
        return Complaint()


def _complaint(value: object) -> Complaint:
    if isinstance(value, list) and value:  # some upstreams wrap the envelope in a list
        value = value[0]
    if not isinstance(value, dict):
        return Complaint()
    inner = value.get("error", value.get("detail", value))
    if isinstance(inner, str):
        return Complaint(message=inner)
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        where = [str(step) for step in inner[0].get("loc", []) if step != "body"]
        return Complaint(message=_text(inner[0].get("msg")), param=".".join(where) or None)
    if not isinstance(inner, dict):
        return Complaint()
    if isinstance(inner.get("message"), dict):
        return _complaint(inner["message"])
    return Complaint(
        message=_text(inner.get("message")) or _text(inner.get("detail")),
        type=_text(inner.get("type")),
        code=_code(inner.get("code")),
        param=_text(inner.get("param")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _code(value: object) -> str | None:
    """Some upstreams give a number where a name is due."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _clean(said: Complaint) -> Complaint:
    """The upstream's words, not longer than anybody reads; without keys, of which truncation could leave a part."""

    def cut(text: str | None, longest: int) -> str | None:
        return strike(text[: 2 * _LONGEST_MESSAGE])[:longest] if text else None

    names = (cut(name, _LONGEST_NAME) for name in (said.type, said.code, said.param))
    return Complaint(cut(said.message, _LONGEST_MESSAGE), *names)
