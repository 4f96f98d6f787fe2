"""Maps failures of upstreams to errors for clients: one total function for each kind of failure."""

import re
from collections.abc import Mapping

from ai_gateway.contract.prompt_limits import too_long
from ai_gateway.errors import (
    RETRY_HINT,
    GatewayError,
    Overloaded,
    UpstreamAuthError,
    UpstreamError,
    UpstreamForbidden,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamWrongAddress,
    is_own_shortage,
)
from ai_gateway.providers.http.broken import BrokenReply
from ai_gateway.providers.http.error_body import ErrorBody, error_body_of, parse_error_body

# Exceptions of the HTTP client for failures of upstream or network. Others are bugs of the gateway.
CLIENT_FAILURES = (BrokenReply, OSError, EOFError)
# Statuses of refusals that the caller can act on. All others concern the gateway and its operator.
KEPT_STATUSES = frozenset({400, 404, 409, 413, 422, 429})
_ABOUT_REQUESTS = frozenset({400, 413, 422})
# Codes that clients expect where an upstream gives none: at these paths, only a model can be missing.
_USUAL_CODES = {404: "model_not_found", 429: "rate_limit_exceeded"}
# Statuses for error codes that upstreams send with status 200 or in a stream. Errors of the request are no outage, and
# are not retried.
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
_OVERLOAD = re.compile(r"overload|over_?capacity|at capacity|slow_down|server is busy|engine_busy", re.IGNORECASE)
# The same for error types, if there is no code: docs.anthropic.com "Errors", which many routers pass on.
_MEANT_BY_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
}
_KEPT_HEADERS = ("retry-after", "retry-after-ms", RETRY_HINT)
_KEPT_PREFIX = "x-ratelimit-"
_KEPT_WORDS = ("retry", "ratelimit")
LONGEST_HEADER = 256
# Those that many upstreams send, and none that is kept: replies with no other need no search.
_USUAL_HEADERS = frozenset(
    {"date", "server", "connection", "content-type", "content-length", "transfer-encoding", "keep-alive", "vary"}
)
_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")
# Words in a 401 or 403 that is not about the key: openrouter.ai "Errors" (moderation), OpenAI's "Error codes" (regions,
# organisations).
_ABOUT_CONTENT = re.compile(r"moderat|flagged|content.?(?:policy|filter)|safety", re.IGNORECASE)
_ABOUT_ACCOUNTS = re.compile(
    r"country|countries|region|territor|\bmodels?\b|\baccess to\b|\bplan\b|subscri|billing|balance|verif|deactivat",
    re.IGNORECASE,
)
_ABOUT_KEYS = re.compile(r"api[ _-]?key|\bkey\b|credential|bearer", re.IGNORECASE)
# Codes and messages of 404s for unknown paths. `unknown_url` is OpenAI's and Groq's.
_PATH_CODES = frozenset({"unknown_url", "invalid_url", "route_not_found"})
_ABOUT_PATHS = re.compile(
    r"^\W*(?:404\W*)?(?:page |route |resource |path )?not found\W*$|"
    r"(?:invalid|unknown) (?:request )?url|unexpected endpoint|method not allowed|"
    r"\b(?:no|unknown) route\b|cannot (?:get|post) /|\b(?:path|endpoint|route)\b.*\bnot found",
    re.IGNORECASE,
)
# Codes that only say that it is an error.
_VAGUE_CODES = frozenset({"error", "server_error", "internal_error", "internal_server_error", "unknown_error"})


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The upstream's rate-limit and retry headers that a client can parse."""
    if _USUAL_HEADERS.issuperset(headers):
        return {}
    kept: dict[str, str] = {}
    names = "\n".join(headers).lower()
    if _KEPT_WORDS[0] not in names and _KEPT_WORDS[1] not in names:  # as for most replies
        return kept
    for field, text in headers.items():
        name = field.lower()
        if name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIX):
            value = text.strip()
            if _is_readable(name, value):
                kept[name] = value
    return kept


def _is_readable(name: str, value: str) -> bool:
    """Whether a client can use the value: short, and a time where one is expected."""
    if len(value) > LONGEST_HEADER:
        return False
    return not name.startswith("retry-after") or bool(_SECONDS.fullmatch(value)) or value.endswith("GMT")


def from_reply(provider: str, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error for a reply whose status is not 2xx."""
    return _from_error_body(provider, status, headers, parse_error_body(body))


def _from_error_body(provider: str, status: int, headers: Mapping[str, str], body_error: ErrorBody) -> GatewayError:
    kept = kept_headers(headers)
    error = _error_for(provider, status, kept, body_error)
    error.detail = f"status {status}: {body_error.words}" if body_error.words else f"status {status}"
    error.extras = body_error.extras
    if error.code is None and status in _ABOUT_REQUESTS and too_long(error, is_refusal=True) is not None:
        error.code = "context_length_exceeded"  # by which agents and frameworks shorten their requests
    return error


def _error_for(provider: str, status: int, kept: Mapping[str, str], body_error: ErrorBody) -> GatewayError:
    if status in {401, 403}:
        return _no_access(provider, status, kept, body_error)
    if 300 <= status < 400:
        return UpstreamInvalidResponse.redirect(provider)
    if status == 405 or (status == 404 and _is_about_path(body_error)):
        return UpstreamWrongAddress.of(provider)
    if status in KEPT_STATUSES:
        return _refused(UpstreamRefused, provider, status, kept, body_error)
    return _failed(provider, status, kept, body_error)


def _failed(provider: str, status: int, kept: Mapping[str, str], body_error: ErrorBody) -> GatewayError:
    """The error for a failure that the caller cannot act on."""
    if status == 408:
        return UpstreamTimeout.of(provider, headers=kept).answered(status)
    if status < 500:
        # A matter of upstream and operator, such as an empty account: a retry changes nothing, whatever the upstream's
        # headers say, and the client is told so by a header.
        error = UpstreamError(f"Provider '{provider}' refused the gateway: {body_error.message or f'status {status}'}")
        error.headers = {**kept, RETRY_HINT: "false"}
        return error.answered(status)
    return _outage(provider, status, kept, body_error)


def _outage(provider: str, status: int, kept: Mapping[str, str], body_error: ErrorBody) -> GatewayError:
    """The error for a failure of the upstream itself, of a kind that clients distinguish."""
    if status == 504:
        error = UpstreamTimeout.of(provider, headers=kept).answered(status)
        error.retry = True  # a proxy or the upstream was too slow; the gateway's own deadline has not passed
        return error
    kind = UpstreamOverloaded if _is_overload(body_error) else UpstreamError
    return kind(f"Provider '{provider}' failed (status {status}). Try again.", headers=kept).answered(status)


def _is_overload(body_error: ErrorBody) -> bool:
    """Whether a failure is an overload, for which clients have a class of its own (503)."""
    return bool(_OVERLOAD.search(f"{body_error.type} {body_error.code} {body_error.message}"))


def _refused(
    kind: type[UpstreamRefused], provider: str, status: int, kept: Mapping[str, str], body_error: ErrorBody
) -> UpstreamRefused:
    is_status = (body_error.code or "").isdecimal() and int(body_error.code or 0) == status
    return kind(
        body_error.message or f"Provider '{provider}' refused the request (status {status}).",
        status=status,
        type=body_error.type or ("requests" if status == 429 else "invalid_request_error"),
        code=_USUAL_CODES.get(status) if is_status or not body_error.code else body_error.code,
        param=body_error.param,
        headers=kept,
    )


def _no_access(provider: str, status: int, kept: Mapping[str, str], body_error: ErrorBody) -> GatewayError:
    """The error for 401 or 403: about content, region or model if it says so, else about the gateway's key."""
    text = f"{body_error.code} {body_error.type} {body_error.message}"
    if body_error.message and _ABOUT_CONTENT.search(text):
        return _refused(UpstreamRefused, provider, 403, kept, body_error)
    if body_error.message and _ABOUT_ACCOUNTS.search(text) and not _ABOUT_KEYS.search(text):
        return _refused(UpstreamForbidden, provider, 403, kept, body_error)
    return UpstreamAuthError(
        f"Provider '{provider}' refused the gateway access (status {status}): its operator has to check the key."
    )


def _is_about_path(body_error: ErrorBody) -> bool:
    """Whether a 404 is about the path and not the model: without a message, or with that of a router."""
    if body_error.code in _PATH_CODES:
        return True
    return not body_error.code and (body_error.message is None or bool(_ABOUT_PATHS.search(body_error.message)))


def from_event(provider: str, value: object) -> GatewayError:
    """The error for a stream event, or a reply with status 200, that is an error."""
    body_error = error_body_of(value)
    status = _meant(body_error)
    if status is not None:
        return _from_error_body(provider, status, {}, body_error)
    kind = UpstreamOverloaded if _is_overload(body_error) else UpstreamError
    error = kind(
        f"Provider '{provider}' reported an error: {body_error.message or 'no reason given'}", detail=body_error.words
    )
    if body_error.code and not body_error.code.isdecimal() and body_error.code not in _VAGUE_CODES:
        error.code = body_error.code
    error.type = body_error.type or error.type
    error.extras = body_error.extras
    return error


def _meant(body_error: ErrorBody) -> int | None:
    """The status of an error that came with status 200, if it has one and the upstream is up."""
    code = body_error.code or ""
    if code.isdecimal() and len(code) == 3:
        return int(code) if 400 <= int(code) < 500 else None
    return _MEANT.get(code) or _MEANT_BY_TYPE.get(body_error.type or "")


def describe(error: BaseException) -> str:
    """An exception's class and message, for the log."""
    return f"{type(error).__name__}: {error}"


def from_exception(provider: str, error: Exception) -> GatewayError:
    """The error for an exception of the HTTP client; errors of ours pass through."""
    if isinstance(error, GatewayError):
        return error
    detail = describe(error)
    if is_own_shortage(error):  # which is no fault of the upstream's
        return Overloaded("connections").changed(detail=detail)
    if isinstance(error, TimeoutError):
        return UpstreamTimeout.of(provider, detail=detail)
    if isinstance(error, BrokenReply):
        return UpstreamInvalidResponse.garbled(provider, detail=detail)
    return UpstreamUnreachable.of(provider, detail=detail)
