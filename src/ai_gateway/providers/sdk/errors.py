"""From anything that an SDK, or the HTTP client beneath it, can raise to the error a client is told.

The SDKs' own classes are known by what they carry (a reply, a status, a cause), so that one SDK's failures can be read
without importing the other.
"""

from collections.abc import Iterator

import httpx
from pydantic_core import to_json

from ai_gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamTimeout, UpstreamUnreachable
from ai_gateway.providers.http.errors import from_event, from_reply
from ai_gateway.providers.http.http1 import BrokenReply

# What httpx, or our connections beneath it, can raise.
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
    ValueError,  # JSON that is none, whichever parser an SDK takes
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
    if any(isinstance(cause, _TOO_SLOW) or "Timeout" in type(cause).__name__ for cause in causes):
        return UpstreamTimeout.of(provider, detail=detail)
    if any(_is_garbled(cause) for cause in causes):
        return UpstreamInvalidResponse.garbled(provider, detail=detail)
    return UpstreamUnreachable.of(provider, detail=detail)


def _is_garbled(cause: BaseException) -> bool:
    if isinstance(cause, OSError):  # a certificate that is not trusted is a ValueError too
        return False
    return isinstance(cause, _GARBLED) or "Validation" in type(cause).__name__


def _refusal(provider: str, error: Exception) -> GatewayError | None:
    """The error for an exception that stands for a reply with a status of its own."""
    response = getattr(error, "response", None)
    if isinstance(response, httpx.Response) and not 200 <= response.status_code < 300:
        body = response.content if hasattr(response, "_content") else b""
        return from_reply(provider, response.status_code, response.headers, body)
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return None
    told = {"error": str(getattr(error, "error", "") or "")}
    if status < 300:  # the ollama SDK says -1 for an error that came in a stream
        return from_event(provider, told)
    return from_reply(provider, status, {}, to_json(told))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was made from, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
