"""Everything that can go wrong, with the facts a client is told.

GatewayError                     500  internal_error
+-- InvalidRequest               400  (param names the field)
|   +-- MissingParameter         400  missing_required_parameter
|   +-- UnsupportedOperation     400  unsupported_operation
|   +-- UnsupportedParameter     400  unsupported_parameter
|   +-- UnsupportedValue         400  unsupported_value
+-- Unauthorized                 401
|   +-- MissingApiKey            401  missing_api_key
|   +-- InvalidApiKey            401  invalid_api_key
+-- Forbidden                    403  model_not_allowed
+-- NotFound                     404  not_found
|   +-- ProviderNotFound         404  provider_not_found
|   +-- ModelNotFound            404  model_not_found
+-- MethodNotAllowed             405  method_not_allowed
+-- RequestTimeout               408  request_timeout
+-- PayloadTooLarge              413  request_too_large
+-- UnsupportedMediaType         415  unsupported_media_type
+-- RateLimited                  429  rate_limit_exceeded
+-- HeadersTooLarge              431  headers_too_large
+-- NotImplementedHere           501  not_implemented
+-- UpstreamError                502  upstream_error
|   +-- UpstreamRefused          (the upstream's own status, code and param: 400, 404, 409, 413, 422, 429)
|   +-- UpstreamAuthError        502  upstream_auth_error
|   +-- UpstreamUnreachable      502  upstream_unreachable
|   +-- UpstreamInvalidResponse  502  upstream_invalid_response
|   +-- UpstreamStreamTruncated  502  upstream_stream_truncated
|   +-- UpstreamTimeout          504  upstream_timeout
|   +-- UpstreamOverloaded       503  upstream_overloaded
|   +-- UpstreamUnavailable      503  upstream_unavailable
+-- Unavailable                  503  overloaded
    +-- Overloaded               (more requests, or more of their bodies, in flight than the gateway takes)

The facts are class attributes; how they look on the wire is `contract/render.py` alone.
"""

from collections.abc import Mapping
from typing import Self


class GatewayError(Exception):
    """A failure with a status, a code and a message that says what to do next.

    `headers` go out with the reply. `detail` is for logs only and never leaves the gateway.
    """

    status: int = 500
    code: str | None = "internal_error"
    type: str = "server_error"

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
    status = 403
    type = "invalid_request_error"
    code = "model_not_allowed"


class NotFound(GatewayError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ProviderNotFound(NotFound):
    code = "provider_not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


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


class HeadersTooLarge(GatewayError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class NotImplementedHere(GatewayError):
    """A whole operation that a gateway cannot offer, whoever is behind it."""

    status = 501
    type = "invalid_request_error"
    code = "not_implemented"


class UpstreamError(GatewayError):
    """`upstream_status` is what the upstream answered with, if it answered; the caller gets the class's own."""

    status = 502
    type = "upstream_error"
    code: str | None = "upstream_error"
    upstream_status: int | None = None

    def answered(self, status: int) -> Self:
        """The same, with the status that the upstream gave."""
        self.upstream_status = status
        return self


class UpstreamRefused(UpstreamError):
    """A refusal that is the caller's to mend, so the upstream's own status, type, code and param are kept."""

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
        self.status = self.upstream_status = status
        self.type = type
        self.code = code


class UpstreamAuthError(UpstreamError):
    code = "upstream_auth_error"


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"


class UpstreamInvalidResponse(UpstreamError):
    code = "upstream_invalid_response"


class UpstreamStreamTruncated(UpstreamError):
    """The stream ended without saying that it was done; what came before stands, but is not the whole answer."""

    code = "upstream_stream_truncated"


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"


class UpstreamOverloaded(UpstreamError):
    """The upstream is well, but has too much to do."""

    status = 503
    code = "upstream_overloaded"


class UpstreamUnavailable(UpstreamError):
    """The upstream is not asked for a while, because it failed too often; `headers` say when to come back."""

    status = 503
    code = "upstream_unavailable"


class Unavailable(GatewayError):
    status = 503
    type = "server_error"
    code = "overloaded"


class Overloaded(Unavailable):
    """More is in flight than may be, requests or what they hold; nobody has been asked for this one."""

    def __init__(self, of_what: str = "requests", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(
            f"The gateway has as many {of_what} in flight as it takes: send this one again in a second.",
            headers={"retry-after": "1", **(headers or {})},
        )
