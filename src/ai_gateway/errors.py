"""The tree of errors, with the facts that clients are given and those that retries, failover and breakers go by.

GatewayError                     500  internal_error                           failover
+-- InvalidRequest               400  (param names the field)
|   +-- MissingParameter         400  missing_required_parameter
|   +-- UnsupportedOperation     400  unsupported_operation
|   +-- UnsupportedParameter     400  unsupported_parameter
|   +-- UnsupportedValue         400  unsupported_value
|   +-- ToolNotAvailable         400  tool_not_available
+-- Unauthorized                 401
|   +-- MissingApiKey            401  missing_api_key
|   +-- InvalidApiKey            401  invalid_api_key
+-- Forbidden                    403  insufficient_permissions
|   +-- ModelNotAllowed          403  model_not_allowed
|   +-- ModelNotPriced           403  model_not_priced
|   +-- ToolNotAllowed           403  tool_not_allowed
+-- NotFound                     404  not_found
|   +-- ProviderNotFound         404  provider_not_found
|   +-- ModelNotFound            404  model_not_found
|   +-- ThreadNotFound           404  thread_not_found
+-- MethodNotAllowed             405  method_not_allowed
+-- RequestTimeout               408  request_timeout
+-- PayloadTooLarge              413  request_too_large
+-- UnsupportedMediaType         415  unsupported_media_type
+-- RateLimited                  429  rate_limit_exceeded                      failover
|   +-- InsufficientQuota        429  insufficient_quota                       failover
+-- UpgradeRequired              426  upgrade_required
+-- HeadersTooLarge              431  headers_too_large
+-- NotImplementedHere           501  not_implemented                          failover
+-- UpstreamError                502  upstream_error                    retry  failover  outage
|   +-- UpstreamRefused          (its own status, code and param)                        healthy
|   |   +-- UpstreamForbidden    (the same)                                    failover  healthy
|   +-- UpstreamWrongAddress     404  upstream_wrong_address                   failover  healthy
|   +-- UpstreamAuthError        502  upstream_auth_error                      failover  healthy
|   +-- UpstreamUnreachable      502  upstream_unreachable              retry  failover  outage
|   +-- UpstreamInvalidResponse  502  upstream_invalid_response                failover
|   +-- UpstreamStreamTruncated  502  upstream_stream_truncated         retry  failover  outage
|   +-- UpstreamOverloaded       503  upstream_overloaded               retry  failover  outage
|   +-- UpstreamUnavailable      503  upstream_unavailable                     failover
|   +-- UpstreamTimeout          504  upstream_timeout                         failover  outage
+-- Unavailable                  503  overloaded                               failover
    +-- Overloaded               (more in flight than the gateway takes)       failover

retry     another attempt at the same upstream may succeed; for refusals and timeouts the operator decides by status
failover  another target may succeed: the status is 429, or 500 and above (also for a refusal) outage    counts against
the upstream's breaker healthy   closes the breaker, since an upstream that refuses is up; with neither, the error says
nothing about it

The status that an upstream gave narrows them: one below 500 is neither worth a retry nor an outage, 501 and 505 are not
worth a retry. Only `contract/wire.py` knows how the facts look on the wire. A message that several modules raise is a
classmethod, so that its text exists once.
"""

import errno
from collections.abc import Mapping
from typing import Self, override

from ai_gateway.redaction import plain_words

RETRY_HINT = "x-should-retry"
_HINTS = {"true": True, "false": False}
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FINAL_STATUSES = frozenset({501, 505})  # the upstream does not support the request, and will not a second later


class GatewayError(Exception):
    """A failure with a status, a code and a message that says what to do next.

    `headers` go out with the reply. `detail` is for logs only and never leaves the gateway. `extras` are further fields
    of an upstream's error, which are passed on where the wire's envelope allows more fields. `native` is the name of
    the upstream's wire and its error body: callers of that wire get the body unchanged. `refusal` is the status that is
    looked up in RETRY_REFUSALS. `retry_hint` is what the upstream's own headers say about a retry, if anything.
    """

    status: int = 500
    code: str | None = "internal_error"
    type: str = "server_error"
    retry: bool = False
    outage: bool = False
    healthy: bool = False
    refusal: int | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.detail = detail
        self.extras: Mapping[str, object] = {}
        self.native: tuple[str, bytes] | None = None
        self.retry_hint = _HINTS.get(self.headers.get(RETRY_HINT, ""))

    @property
    def failover(self) -> bool:
        """Whether another target may succeed: this one is at its limit, too slow, unreachable, or broken."""
        return self.status == 429 or self.status >= 500

    def with_note(self, note: str, headers: Mapping[str, str]) -> Self:
        """A copy with the note appended to its message, and with these headers where it has none of the same name."""
        is_closed = not self.message or self.message.endswith((".", "!", "?"))  # an upstream's words may not be
        sentence = self.message if is_closed else f"{self.message}."
        return self.changed(message=f"{sentence} {note}".lstrip(), headers={**headers, **self.headers})

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """A copy with these headers of the upstream; a retry hint among them is applied."""
        hint = _HINTS.get(headers.get(RETRY_HINT, ""), self.retry_hint)
        return self.changed(headers={**self.headers, **headers}, retry_hint=hint)

    def changed(self, **changes: object) -> Self:
        """A copy that differs in these attributes."""
        # Not by `copy.copy`, which calls `__init__` with `args`: subclasses take other arguments.
        twin = type(self).__new__(type(self), changes.get("message", self.message))
        twin.__dict__.update(self.__dict__ | changes)
        return twin


class InvalidRequest(GatewayError):
    status = 400
    type = "invalid_request_error"
    code = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param, headers=headers)
        if code:
            self.code = code


class MissingParameter(InvalidRequest):
    code = "missing_required_parameter"


class UnsupportedOperation(InvalidRequest):
    code = "unsupported_operation"


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"


class UnsupportedValue(InvalidRequest):
    code = "unsupported_value"


class ToolNotAvailable(InvalidRequest):
    code = "tool_not_available"


class Unauthorized(GatewayError):
    """No access; the challenge header names the scheme, as RFC 9110 demands."""

    status = 401
    type = "invalid_request_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"www-authenticate": "Bearer"})


class MissingApiKey(Unauthorized):
    code = "missing_api_key"


class InvalidApiKey(Unauthorized):
    code = "invalid_api_key"


class Forbidden(GatewayError):
    """The caller is authenticated but not permitted to do this."""

    status = 403
    type = "invalid_request_error"
    code = "insufficient_permissions"


class ModelNotAllowed(Forbidden):
    code = "model_not_allowed"


class ModelNotPriced(Forbidden):
    """A budget cannot be enforced for a model without a price."""

    code = "model_not_priced"


class ToolNotAllowed(Forbidden):
    code = "tool_not_allowed"


class NotFound(GatewayError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ProviderNotFound(NotFound):
    code = "provider_not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class ThreadNotFound(NotFound):
    code = "thread_not_found"

    @classmethod
    def kept_nowhere(cls) -> Self:
        """For a conversation to go on with: Anthropic's SDKs send it whole then, by the code in `details`."""
        error = cls("No conversations are kept here: send all messages of this one.", param="thread")
        error.extras = {"details": {"error_code": cls.code}}
        return error


class MethodNotAllowed(GatewayError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(GatewayError):
    """The client did not send its body in time; the connection is closed."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class PayloadTooLarge(GatewayError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(GatewayError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class RateLimited(GatewayError):
    status = 429
    type = "requests"
    code = "rate_limit_exceeded"


class InsufficientQuota(RateLimited):
    """The budget is spent, or reserved by calls in flight: an immediate retry does not help."""

    type = "insufficient_quota"
    code = "insufficient_quota"


class UpgradeRequired(GatewayError):
    """A request to upgrade to WebSocket, which the gateway does not serve: clients then fall back to HTTP at once."""

    status = 426
    type = "invalid_request_error"
    code = "upgrade_required"


class HeadersTooLarge(GatewayError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class NotImplementedHere(GatewayError):
    """An operation that a gateway cannot offer with any upstream."""

    status = 501
    type = "invalid_request_error"
    code = "not_implemented"


class UpstreamError(GatewayError):
    """`upstream_status` is what the upstream answered with, if it answered; the caller gets the class's own.

    `worked` says that the upstream did work that it bills, or may have done so.
    """

    status = 502
    type = "upstream_error"
    code: str | None = "upstream_error"
    retry = True
    outage = True
    upstream_status: int | None = None
    worked: bool = False

    def answered(self, status: int) -> Self:
        """The same error with the upstream's status, and with `retry`, `outage` and `healthy` set by it."""
        self.upstream_status = status
        self.retry = self.retry and status >= 500 and status not in _FINAL_STATUSES
        self.outage = self.outage and status >= 500
        return self

    @classmethod
    def gave_up(cls, provider: str | None = None, *, detail: str | None = None) -> Self:
        """For a response whose finish reason is a failure."""
        return cls(f"{_subject(provider)} gave the answer up before its end.", detail=detail)


class UpstreamRefused(UpstreamError):
    """A refusal that the caller has to act on, so the upstream's own status, type, code and param are kept."""

    retry = False
    outage = False
    healthy = True

    def __init__(  # noqa: PLR0913 - the four fields of the envelope, the status and the headers belong together
        self,
        message: str,
        *,
        status: int,
        type: str,  # noqa: A002 - the envelope's own name
        code: str | None,
        param: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param, headers=headers)
        self.status = self.upstream_status = self.refusal = status
        self.type = type
        self.code = code


class UpstreamForbidden(UpstreamRefused):
    """A refusal by account or region of the gateway, so that another upstream may accept the request."""

    failover = True


class UpstreamWrongAddress(UpstreamError):
    """The upstream's host answers, but serves nothing at the path of the configured base URL."""

    status = 404
    code = "upstream_wrong_address"
    retry = False
    outage = False
    healthy = True
    failover = True

    @classmethod
    def of(cls, provider: str, setting: str = "it") -> Self:
        return cls(
            f"{_subject(provider)} has nothing at the address that was called: its operator has to check {setting}."
        )


class UpstreamAuthError(UpstreamError):
    code = "upstream_auth_error"
    retry = False
    outage = False
    healthy = True


class UpstreamUnreachable(UpstreamError):
    """The connection to the upstream fails, or is lost before a response."""

    code = "upstream_unreachable"

    @classmethod
    def of(cls, provider: str, *, detail: str | None = None) -> Self:
        return cls(f"{_subject(provider)} cannot be reached. Try again.", detail=detail)


class UpstreamInvalidResponse(UpstreamError):
    """A response that cannot be used. The upstream is up, has generated the response, and bills it."""

    worked = True
    code = "upstream_invalid_response"
    retry = False
    outage = False

    @classmethod
    def redirect(cls, provider: str) -> Self:
        return cls(f"{_subject(provider)} answered with a redirect, which is not followed.")

    @classmethod
    def without_reply(cls, provider: str, status: int) -> Self:
        """For a status of success without a body to use, such as 204."""
        return cls(f"{_subject(provider)} answered without a reply (status {status}).")

    @classmethod
    def compressed(cls, provider: str) -> Self:
        return cls(f"{_subject(provider)} sent a compressed reply that was not requested.")

    @classmethod
    def too_large(cls, provider: str | None = None, *, what: str = "a reply", limit: int, setting: str) -> Self:
        size = f"more than the {limit} bytes of {setting}"
        return cls(f"{_subject(provider)} sent {what} that is too large to pass on: {size}.")

    @classmethod
    def garbled(cls, provider: str, *, detail: str | None = None) -> Self:
        return cls(f"{_subject(provider)} broke off or garbled its reply.", detail=detail)

    @classmethod
    def web_page(cls, provider: str, setting: str, body: bytes) -> Self:
        """For an HTML page, which hosts serve at addresses that are not the API's."""
        words = f"{_subject(provider)} answered with a web page: its operator has to check {setting}."
        return cls(words, detail=plain_words(body))

    @classmethod
    def not_json(cls, provider: str | None, error: ValueError, body: bytes) -> Self:
        """For a `body` that is not JSON: unless it is truncated JSON, it is quoted as the upstream's message."""
        words = plain_words(body)
        detail = f"{error}: {words}" if words else str(error)
        return cls(f"{_subject(provider)} sent a reply that is not JSON.", detail=detail)

    @classmethod
    def not_a_stream(cls, provider: str) -> Self:
        return cls(f"{_subject(provider)} did not answer with a stream.")

    @classmethod
    def off_contract(cls, *, detail: str) -> Self:
        return cls("The provider's reply does not follow the contract.", detail=detail)

    @classmethod
    def out_of_order(cls, kind: str) -> Self:
        """For an event of this kind that cannot come after the events before it."""
        return cls("The provider's events do not belong together.", detail=f"at {kind}")

    @classmethod
    def unknown_end(cls) -> Self:
        """For a response with an unknown finish reason."""
        return cls("The provider ended its answer for an unknown reason.")


class UpstreamStreamTruncated(UpstreamError):
    """The stream ended without its terminator, so what arrived is not the whole response."""

    worked = True
    code = "upstream_stream_truncated"

    @classmethod
    def ended(cls, provider: str | None = None) -> Self:
        """For a response body that ends properly at the HTTP level, but before the stream's terminator."""
        return cls(f"{_subject(provider)} ended the stream before it was complete.")

    @classmethod
    def broken_off(cls, provider: str, *, detail: str | None = None) -> Self:
        """For a connection that is lost in the middle of a stream."""
        return cls(f"{_subject(provider)} broke the stream off before it was complete.", detail=detail)


class UpstreamOverloaded(UpstreamError):
    """The upstream is up, but over capacity."""

    status = 503
    code = "upstream_overloaded"


class UpstreamUnavailable(UpstreamError):
    """The circuit breaker is open; `headers` say when to retry."""

    status = 503
    code = "upstream_unavailable"
    retry = False
    outage = False


class UpstreamTimeout(UpstreamError):
    """The deadline has passed, so there is no time for a retry; only an upstream's own 408 comes early."""

    worked = True
    status = 504
    code = "upstream_timeout"
    retry = False

    @classmethod
    def of(cls, provider: str, *, headers: Mapping[str, str] | None = None, detail: str | None = None) -> Self:
        return cls(f"{_subject(provider)} took too long. Try again.", headers=headers, detail=detail)

    @override
    def answered(self, status: int) -> Self:
        self.refusal = status
        return super().answered(status)


def _subject(provider: str | None) -> str:
    """The provider as the subject of a sentence; some modules do not know whose response they read."""
    return f"Provider '{provider}'" if provider else "The provider"


class Unavailable(GatewayError):
    status = 503
    type = "server_error"
    code = "overloaded"


class Overloaded(Unavailable):
    """Too many requests are in flight, here or at one provider; no upstream was called."""

    def __init__(self, of_what: str = "requests", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            f"The gateway has as many {of_what} in flight as it takes: send this one again in a second.",
            headers={"retry-after": "1", **(headers or {})},
        )


def is_own_shortage(error: BaseException) -> bool:
    """Whether this machine lacks what another file or connection takes."""
    return isinstance(error, OSError) and error.errno in _SHORTAGES
