"""From every exception of the SDKs, and of the HTTP client beneath them, to the error a client is told."""

import inspect
import ssl
from collections.abc import Iterator
from types import ModuleType
from typing import Any, cast

import cerebras.cloud.sdk
import cerebras.cloud.sdk._response
import httpx
import ollama
import pytest
from cerebras.cloud.sdk import CerebrasError, _exceptions as cerebras_exceptions

from ai_gateway.errors import InvalidRequest, UpstreamError, UpstreamInvalidResponse
from ai_gateway.providers.http.broken import BrokenReply
from ai_gateway.providers.sdk.errors import HTTP_FAILURES, from_sdk_exception
from ai_gateway.redaction import remember

SECRET = "sk-gateway-secret"
remember(SECRET)
REQUEST = httpx.Request("POST", "http://127.0.0.1/")
SDK_FAILURES: tuple[type[Exception], ...] = (
    *HTTP_FAILURES,
    ollama.RequestError,
    ollama.ResponseError,
    CerebrasError,
)


def classes() -> Iterator[type[Exception]]:
    """Every exception that the packages have, wherever in them it is defined."""
    modules: list[ModuleType] = [
        httpx, ollama, cerebras.cloud.sdk, cerebras_exceptions, cerebras.cloud.sdk._response,
    ]  # fmt: skip
    for module in modules:
        for name, cls in inspect.getmembers(module, inspect.isclass):
            own = cls.__module__.split(".")[0] in {"httpx", "ollama", "cerebras"}
            if (
                own
                and issubclass(cls, Exception)
                and not issubclass(cls, Warning)
                and name != "MissingStreamClassError"
            ):
                yield cls


ALL = sorted(
    {*classes(), TimeoutError, ConnectionError, OSError, EOFError}, key=lambda cls: (cls.__module__, cls.__name__)
)


def response(status: int, body: bytes = b'{"message":"why","code":"c"}') -> httpx.Response:
    return httpx.Response(status, request=REQUEST, content=body, headers={"retry-after": "7"})


def made(cls: type[Any]) -> Exception:
    """An instance, by the arguments that its constructor wants."""
    wanted = inspect.signature(cls.__init__).parameters
    known: dict[str, Any] = {
        "message": "x", "error": "x", "request": REQUEST, "response": response(500), "body": None, "args": "x",
    }  # fmt: skip
    named = {name: known[name] for name in wanted if name in known and name != "args"}
    return cast("Exception", cls(**named) if named else cls("x") if "args" in wanted else cls())


def test_the_packages_are_looked_at_closely() -> None:
    names = {cls.__name__ for cls in ALL}
    assert {"ResponseError", "RequestError", "APITimeoutError", "APIResponseValidationError", "ReadTimeout"} <= names
    assert {"StreamAlreadyConsumed", "InvalidURL", "RateLimitError"} <= names
    assert len(ALL) > 40


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_exception_is_caught_and_has_an_error(cls: type[Exception]) -> None:
    assert issubclass(cls, SDK_FAILURES)
    error = from_sdk_exception("up", made(cls))
    assert isinstance(error, UpstreamError)
    assert error.status in {502, 504}
    assert "'up'" in error.message
    slow = "Timeout" in cls.__name__
    assert (error.code == "upstream_timeout") is slow


@pytest.mark.parametrize(
    ("cls", "code"),
    [
        (httpx.ConnectError, "upstream_unreachable"),
        (httpx.ReadError, "upstream_unreachable"),
        (httpx.RemoteProtocolError, "upstream_invalid_response"),
        (httpx.DecodingError, "upstream_invalid_response"),
        (httpx.PoolTimeout, "upstream_timeout"),
        (BrokenReply, "upstream_invalid_response"),
        (ConnectionRefusedError, "upstream_unreachable"),
        (ssl.SSLCertVerificationError, "upstream_unreachable"),
    ],
)
def test_what_happened_is_told_apart(cls: type[Exception], code: str) -> None:
    assert from_sdk_exception("up", cls("x")).code == code


@pytest.mark.parametrize(
    ("status", "expected"), [(400, 400), (404, 404), (429, 429), (401, 502), (503, 502), (302, 502)]
)
def test_a_refusal_inside_an_exception_is_read_as_a_reply(status: int, expected: int) -> None:
    refusal = cerebras.cloud.sdk.APIStatusError("x", response=response(status), body=None)
    error = from_sdk_exception("up", refusal)
    assert error.status == expected
    if expected == status:
        assert (error.message, error.code, error.headers) == ("why", "c", {"retry-after": "7"})
    own = from_sdk_exception("up", ollama.ResponseError('{"error":"why"}', status))
    assert own.status == expected
    assert status in {302, 401, 503} or own.message == "why"


def test_an_error_out_of_a_stream_is_taken_at_its_word() -> None:
    error = from_sdk_exception("up", ollama.ResponseError(f"stopped by {SECRET}"))
    assert (error.status, error.message) == (502, "Provider 'up' reported an error: stopped by [key]")


@pytest.mark.parametrize("ours", [InvalidRequest("x"), UpstreamInvalidResponse("y")])
def test_our_own_errors_pass_through_whatever_an_sdk_wraps_them_in(ours: Exception) -> None:
    wrapped = cerebras.cloud.sdk.APIConnectionError(request=REQUEST)
    wrapped.__cause__ = ours
    assert from_sdk_exception("up", ours) is ours
    assert from_sdk_exception("up", wrapped) is ours
