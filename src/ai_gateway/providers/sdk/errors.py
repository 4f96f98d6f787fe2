"""Maps exceptions of SDKs, and of the HTTP client beneath them, to errors for clients.

The SDKs' classes are recognised by their attributes (a reply, a status, a cause), so that no SDK has to be imported for
another one's.
"""

from collections.abc import Iterator

import httpx
from pydantic_core import to_json

from ai_gateway.errors import (
    GatewayError,
    Overloaded,
    UpstreamInvalidResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
    is_own_shortage,
)
from ai_gateway.providers.http.broken import BrokenReply
from ai_gateway.providers.http.errors import from_event, from_reply

# Exceptions of httpx and of our connections beneath it.
HTTP_FAILURES = (
    BrokenReply,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    httpx.StreamError,
    OSError,
    EOFError,
)
_TOO_SLOW = (TimeoutError, httpx.TimeoutException)
_GARBLED = (
    httpx.ProtocolError,
    httpx.DecodingError,
    httpx.TooManyRedirects,
    httpx.HTTPStatusError,
    httpx.CookieConflict,
    httpx.StreamError,
    BrokenReply,
    ValueError,  # invalid JSON, with any parser of an SDK
)


def from_sdk_exception(provider: str, error: Exception) -> GatewayError:
    """The error for an exception of an SDK or of httpx; errors of ours pass through, wrapped ones too."""
    causes = list(_causes(error))
    own = next((cause for cause in causes if isinstance(cause, GatewayError)), None)
    if own is not None:
        return own
    refusal = _refusal(provider, error)
    if refusal is not None:
        return refusal
    detail = "; ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    if any(map(is_own_shortage, causes)):
        return Overloaded("connections").changed(detail=detail)
    if any(isinstance(cause, _TOO_SLOW) or "Timeout" in type(cause).__name__ for cause in causes):
        return UpstreamTimeout.of(provider, detail=detail)
    if any(_is_garbled(cause) for cause in causes):
        return UpstreamInvalidResponse.garbled(provider, detail=detail)
    return UpstreamUnreachable.of(provider, detail=detail)


def _is_garbled(cause: BaseException) -> bool:
    if isinstance(cause, OSError):  # ssl.SSLCertVerificationError is a ValueError too
        return False
    return isinstance(cause, _GARBLED) or "Validation" in type(cause).__name__


def _refusal(provider: str, error: Exception) -> GatewayError | None:
    """The error for an exception that carries a reply with a status."""
    response = getattr(error, "response", None)
    if isinstance(response, httpx.Response) and not 200 <= response.status_code < 300:
        body = response.content if hasattr(response, "_content") else b""
        return from_reply(provider, response.status_code, response.headers, body)
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return None
    value = {"error": str(getattr(error, "error", "") or "")}
    if status < 300:  # -1 for an error that came in a stream: ollama/_types.py, 0.6.3
        return from_event(provider, value)
    return from_reply(provider, status, {}, to_json(value))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
