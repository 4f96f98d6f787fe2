"""From anything an upstream can do wrong to the error a client is told."""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import pytest

from ai_gateway.errors import (
    GatewayError,
    InvalidRequest,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ai_gateway.providers.http.broken import BrokenReply, Disconnected
from ai_gateway.providers.http.error_body import is_error, parse_error_body
from ai_gateway.providers.http.errors import CLIENT_FAILURES, from_event, from_exception, from_reply, kept_headers
from ai_gateway.redaction import remember
from ai_gateway.resilience.retry import RetryPolicy

SECRET = "sk-gateway-secret"
remember(SECRET)
NESTED = {"error": {"message": "too long", "type": "invalid_request_error", "code": "too_long", "param": "messages"}}


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429])
def test_a_refusal_the_caller_can_mend_is_kept(status: int) -> None:
    headers = {"Retry-After": "7", "X-RateLimit-Remaining-Requests": "0", "Set-Cookie": "no"}
    error = from_reply("up", status, headers, json.dumps(NESTED).encode())
    assert (error.status, error.code, error.param, error.message) == (status, "too_long", "messages", "too long")
    assert error.headers == {"retry-after": "7", "x-ratelimit-remaining-requests": "0"}


@pytest.mark.parametrize("status", [500, 503, 529])
@pytest.mark.parametrize(
    "said",
    [
        {"message": "The engine is currently overloaded, please try again later", "type": "server_error"},
        {"message": "x", "type": "overloaded_error"},
        {"message": "x", "code": "slow_down"},
        {"message": "The model is over capacity", "code": "over_capacity"},
    ],
)
def test_too_much_to_do_is_told_as_that(status: int, said: dict[str, str]) -> None:
    error = from_reply("up", status, {"retry-after": "3"}, json.dumps({"error": said}).encode())
    assert (error.status, error.code, error.headers["retry-after"]) == (503, "upstream_overloaded", "3")
    assert error.retry is error.outage is error.failover is True


@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (401, 502, "upstream_auth_error"),
        (403, 502, "upstream_auth_error"),
        (402, 502, "upstream_error"),
        (408, 504, "upstream_timeout"),
        (302, 502, "upstream_invalid_response"),
        (500, 502, "upstream_error"),
        (503, 502, "upstream_error"),
        (504, 504, "upstream_timeout"),
        (529, 502, "upstream_error"),
        (418, 502, "upstream_error"),
    ],
)
def test_what_is_between_the_gateway_and_the_upstream_is_502_or_504(status: int, expected: int, code: str) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET}", "code": "x"}}).encode()
    error = from_reply("up", status, {}, body)
    assert (error.status, error.code) == (expected, code)
    assert SECRET not in error.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (json.dumps(NESTED), "too long"),
        ('{"error":"model is loading"}', "model is loading"),
        ('{"message":"flat","code":"c"}', "flat"),
        ('{"detail":"Not Found"}', "Not Found"),
        ('{"detail":[{"msg":"field required","loc":["body"]}]}', "field required"),
        ('{"message":{"detail":[{"msg":"nested deep"}]}}', "nested deep"),
        ('[{"error":{"message":"in a list"}}]', "in a list"),
        ('{"errors":["in a list of texts"]}', "in a list of texts"),
        ('["a text in a list"]', "a text in a list"),
        ("no such  thing\n", "no such thing"),
        ('{"error":{"message":5}}', None),
        ("<html><body>Bad gateway</body></html>", None),
        ("", None),
        ("null", None),
        ("[]", None),
        ('{"error":null}', None),
    ],
)
def test_every_dialect_of_complaint_is_read(body: str, message: str | None) -> None:
    assert parse_error_body(body.encode()).message == message


@pytest.mark.parametrize(
    ("code", "status", "error_code"),
    [
        (429, 429, "rate_limit_exceeded"),
        (400, 400, None),
        ("busy", 502, "busy"),
        (401, 502, "upstream_auth_error"),
        (502, 502, "upstream_error"),
        (402, 502, "upstream_error"),
        ("9" * 300, 502, "upstream_error"),
        ("server_error", 502, "upstream_error"),
        ("context_length_exceeded", 400, "context_length_exceeded"),
        ("model_not_found", 404, "model_not_found"),
        ("rate_limit_exceeded", 429, "rate_limit_exceeded"),
        ("invalid_api_key", 502, "upstream_auth_error"),
    ],
)
def test_an_error_with_status_200_is_taken_at_its_word(code: object, status: int, error_code: str | None) -> None:
    error = from_event("up", {"error": {"message": "why", "code": code}})
    assert (error.status, error.code) == (status, error_code)


@pytest.mark.parametrize(
    "said",
    [
        {"code": "context_length_exceeded", "type": "invalid_request_error"},
        {"code": "context_length_exceeded"},
        {"type": "invalid_request_error", "param": "messages"},
        {"code": 402},
        {"code": 413, "type": "server_error"},
    ],
)
def test_what_is_the_callers_to_mend_is_no_outage_in_a_stream_either(said: dict[str, object]) -> None:
    error = from_event("up", {"error": {"message": "too long", **said}})
    assert not error.outage
    assert error.message.endswith("too long")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("overloaded_error", 503, "upstream_overloaded"),
        ("rate_limit_error", 429, "rate_limit_exceeded"),
        ("insufficient_quota", 429, "rate_limit_exceeded"),
        ("authentication_error", 502, "upstream_auth_error"),
        ("not_found_error", 404, "model_not_found"),
        ("request_too_large", 413, None),
        ("api_error", 502, "upstream_error"),
    ],
)
def test_a_type_alone_says_what_an_error_in_a_stream_is(kind: str, status: int, code: str | None) -> None:
    error = from_event("up", {"type": "error", "error": {"type": kind, "message": "why is that"}})
    assert (error.status, error.code) == (status, code)


def test_a_refusal_in_a_stream_keeps_what_it_says() -> None:
    error = from_event("up", NESTED)
    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.type, error.code, error.param, error.message) == (
        400,
        "invalid_request_error",
        "too_long",
        "messages",
        "too long",
    )


def in_reply(said: dict[str, object]) -> GatewayError:
    return from_reply("up", 400, {}, json.dumps({"error": said}).encode())


def in_event(said: dict[str, object]) -> GatewayError:
    return from_event("up", {"error": said})


@pytest.mark.parametrize("reported", [in_reply, in_event])
@pytest.mark.parametrize("field", ["message", "type", "code", "param"])
def test_no_field_of_a_refusal_swells_or_quotes_a_key(
    reported: Callable[[dict[str, object]], GatewayError], field: str
) -> None:
    longest = 2_000 if field == "message" else 200
    for edge in (0, longest - 5, 3 * longest):  # a key across the edge is redacted before the text is cut
        text = "x" * edge + SECRET + "y" * 5 * longest
        plain = {"type": "invalid_request_error"} if field != "type" else {"code": "context_length_exceeded"}
        error = reported({**plain, field: text})
        kept = str(getattr(error, field))
        assert error.status == 400
        assert kept == ("x" * edge + "[key]" + "y" * 5 * longest)[:longest]


def test_a_refusal_that_is_the_operators_to_mend_is_not_to_be_tried_again() -> None:
    error = from_reply("up", 402, {}, b'{"error":{"message":"Insufficient balance"}}')
    assert error.headers == {"x-should-retry": "false"}
    assert "Insufficient balance" in error.message
    assert (error.retry, error.retry_hint) == (False, None)


@pytest.mark.parametrize(
    ("status", "hint", "retry", "headers"),
    [
        (500, None, True, {}),
        (500, "false", False, {"x-should-retry": "false"}),
        (500, "maybe", True, {"x-should-retry": "maybe"}),
        (501, None, False, {}),
        (501, "true", True, {"x-should-retry": "true"}),
        (429, None, False, {}),
        (429, "true", True, {"x-should-retry": "true"}),
        (408, None, True, {}),
        (408, "false", False, {"x-should-retry": "false"}),
        (402, None, False, {"x-should-retry": "false"}),
        (402, "true", False, {"x-should-retry": "false"}),
        (401, "true", False, {}),
        (302, "true", False, {}),
    ],
)
def test_an_upstreams_own_hint_counts_and_comes_through_where_trying_again_can_help(
    status: int, hint: str | None, retry: bool, headers: dict[str, str]
) -> None:
    error = from_reply("up", status, {"X-Should-Retry": hint} if hint else {}, b"")
    assert (RetryPolicy().pause(1, error, 60, 0.5) is not None) is retry
    assert error.headers == headers


def test_whether_to_try_again_is_not_read_from_the_header_that_clients_are_sent() -> None:
    error = from_reply("up", 402, {}, b"")
    for reported in ({}, {"x-should-retry": "true"}):
        error.headers = reported
        assert RetryPolicy().pause(1, error, 60, 0.5) is None


def test_the_gateways_key_never_comes_back_out() -> None:
    body = json.dumps({"error": {"message": f"bad request by {SECRET}"}}).encode()
    assert SECRET not in from_reply("up", 400, {}, body).message


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (
            400,
            {"error": {"message": "prompt is too long: 9 tokens > 8 maximum", "type": "invalid_request_error"}},
            True,
        ),
        (400, {"error": "the request (9 tokens) exceeds the available context size (8 tokens)"}, True),
        (400, {"error": {"code": 400, "message": "no", "n_prompt_tokens": 9, "n_ctx": 8}}, True),
        (413, {"error": {"message": "The input is longer than the context window."}}, True),
        (
            422,
            {"object": "error", "message": "This model's maximum context length is 8 tokens. It has 9 tokens."},
            True,
        ),
        (400, {"error": {"message": "prompt is too long", "code": "own_code"}}, "own_code"),
        (400, {"error": {"message": "max_tokens is too large: 9. This model supports at most 8 tokens."}}, None),
        (429, {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}, "rate_limit_exceeded"),
    ],
)
def test_a_prompt_that_is_too_long_has_the_code_that_agents_shorten_it_by(
    status: int, said: dict[str, Any], code: object
) -> None:
    error = from_reply("up", status, {}, json.dumps(said).encode())
    assert (error.status, error.code) == (status, "context_length_exceeded" if code is True else code)


def test_a_429_without_words_has_a_code_all_the_same() -> None:
    error = from_reply("up", 429, {"retry-after": "3"}, b"slow down")
    assert (error.type, error.code, error.headers) == ("requests", "rate_limit_exceeded", {"retry-after": "3"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"error": {"message": "x"}}, True),
        ({"error": "x"}, True),
        ({"error": None, "choices": []}, False),
        ({"choices": [{"finish_reason": "error"}], "error": {"message": "beside", "code": 502}}, True),
        ({"object": "error", "message": "x"}, True),
        ({"choices": [], "error": False}, False),
        ({"object": "list", "data": []}, False),
        ([{"error": {"message": "in a list"}}], True),
        ({"detail": "why"}, True),
        ({"errors": ["why"]}, True),
        ({"success": False, "errors": [{"message": "why"}], "result": None}, True),
        ({"errors": [], "success": True}, False),
        ([], False),
        ({}, False),
        ("text", False),
    ],
)
def test_an_error_with_status_200_is_seen(value: object, expected: bool) -> None:
    assert is_error(value) is expected


def exceptions() -> list[type[Exception]]:
    ours = [BrokenReply, Disconnected]
    return [*ours, TimeoutError, asyncio.IncompleteReadError, ConnectionResetError, OSError, ValueError]


@pytest.mark.parametrize("cls", exceptions(), ids=lambda cls: cls.__name__)
def test_every_exception_of_the_http_client_has_an_error(cls: type[Exception]) -> None:
    error = from_exception("up", made(cls))
    assert isinstance(error, UpstreamError)
    assert error.status in {502, 504}
    assert "up" in error.message


ARGUMENTS: list[tuple[type[Exception], tuple[object, ...]]] = [
    (asyncio.IncompleteReadError, (b"", 5)),
]


def made(cls: type[Any]) -> Exception:
    """An instance, by the arguments that its constructor wants."""
    arguments = next((wanted for base, wanted in ARGUMENTS if issubclass(cls, base)), ("x",))
    return cast("Exception", cls(*arguments))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (BrokenReply("x"), UpstreamInvalidResponse, "Provider 'up' broke off or garbled its reply."),
        (Disconnected("x"), UpstreamUnreachable, "Provider 'up' cannot be reached. Try again."),
        (ssl.SSLCertVerificationError("x"), UpstreamUnreachable, "Provider 'up' cannot be reached. Try again."),
        (socket.gaierror(-2, "x"), UpstreamUnreachable, "Provider 'up' cannot be reached. Try again."),
        (TimeoutError(), UpstreamTimeout, "Provider 'up' took too long. Try again."),
    ],
)
def test_what_happens_to_a_call_has_its_own_error(error: Exception, kind: type[GatewayError], message: str) -> None:
    found = from_exception("up", error)
    assert (type(found), found.message) == (kind, message)
    assert found.detail == f"{type(error).__name__}: {error}"
    assert isinstance(error, CLIENT_FAILURES)


def test_our_own_errors_pass_through() -> None:
    ours: GatewayError = InvalidRequest("x")
    assert from_exception("up", ours) is ours


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("Retry-After", "7", True),
        ("retry-after-ms", "1500.5", True),
        ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", True),
        ("retry-after", "abc", False),
        ("retry-after", "-5", False),
        ("x-ratelimit-reset-tokens", "6m0s", True),
        ("x-ratelimit-reset-tokens", "s" * 15_000, False),
        ("server", "secret", False),
    ],
)
def test_headers_are_kept_if_a_client_can_read_them(name: str, value: str, kept: bool) -> None:
    assert kept_headers({name: value}) == ({name.lower(): value} if kept else {})
