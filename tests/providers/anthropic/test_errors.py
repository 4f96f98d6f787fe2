"""What the Messages API says went wrong, as a client of ours is told."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import to_json

from ai_gateway.providers.anthropic.errors import event_error, limits, reply_error
from ai_gateway.redaction import remember
from ai_gateway.resilience.retry import RetryPolicy
from tests.support.anthropic_types import accepted

KEY = "sk-ant-secret"
remember(KEY)
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def reported(kind: str, message: str = "told") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("invalid_request_error", 400, None),
        ("authentication_error", 502, "upstream_auth_error"),
        ("permission_error", 502, "upstream_auth_error"),
        ("billing_error", 502, "upstream_error"),
        ("not_found_error", 404, "model_not_found"),
        ("conflict_error", 409, None),
        ("rate_limit_error", 429, "rate_limit_exceeded"),
        ("api_error", 502, "upstream_error"),
        ("timeout_error", 504, "upstream_timeout"),
        ("overloaded_error", 503, "upstream_overloaded"),
        ("error_of_tomorrow", 502, "upstream_error"),
    ],
)
def test_an_error_in_a_stream_is_known_by_its_kind(kind: str, status: int, code: str | None) -> None:
    if kind not in {"error_of_tomorrow", "conflict_error"}:
        accepted("error", reported(kind))
    error = event_error("anthropic", reported(kind, f"told {KEY}"))
    assert (error.status, error.code) == (status, code)
    assert KEY not in error.message


@pytest.mark.parametrize(
    "value", [{"type": "error"}, {"type": "error", "error": "text"}, {"type": "error", "error": 5}]
)
def test_an_error_of_an_odd_shape_is_an_error_all_the_same(value: dict[str, Any]) -> None:
    error = event_error("anthropic", value)
    assert (error.status, error.code) == (502, "upstream_error")


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", (400, None)),
        (401, "authentication_error", (502, "upstream_auth_error")),
        (402, "billing_error", (502, "upstream_error")),
        (403, "permission_error", (502, "upstream_auth_error")),
        (404, "not_found_error", (404, "model_not_found")),
        (413, "request_too_large", (413, None)),
        (429, "rate_limit_error", (429, "rate_limit_exceeded")),
        (500, "api_error", (502, "upstream_error")),
        (504, "timeout_error", (504, "upstream_timeout")),
        (529, "overloaded_error", (503, "upstream_overloaded")),
    ],
)
def test_every_status_has_its_error(status: int, kind: str, expected: tuple[int, str | None]) -> None:
    error = reply_error("anthropic", status, {"retry-after": "7"}, to_json(reported(kind)))
    assert (error.status, error.code) == expected
    assert status in {401, 403} or error.headers["retry-after"] == "7"


@pytest.mark.parametrize(("status", "again"), [(529, True), (500, True), (402, False), (400, False), (504, False)])
def test_what_may_pass_is_asked_again(status: int, again: bool) -> None:
    error = reply_error("anthropic", status, {}, to_json(reported("any")))
    assert (RetryPolicy().pause(1, error, remaining=60.0, chance=0.5) is not None) is again


def test_an_empty_account_is_not_worth_another_try() -> None:
    error = reply_error("anthropic", 402, {}, to_json(reported("billing_error", "no credit")))
    assert error.headers["x-should-retry"] == "false"
    assert "no credit" in error.message


@pytest.mark.parametrize(("status", "hint", "again"), [(402, "true", True), (401, "true", True), (529, "false", False)])
def test_the_apis_own_hint_of_another_try_counts_and_comes_through(status: int, hint: str, again: bool) -> None:
    error = reply_error("anthropic", status, {"x-should-retry": hint}, to_json(reported("any")))
    assert (RetryPolicy().pause(1, error, remaining=60.0, chance=0.5) is not None) is again
    assert error.headers == {"x-should-retry": hint}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("temperature: Extra inputs are not permitted", "temperature"),
        ("messages.1.content.0.text: Field required", "messages"),
        ("tools.0.custom.name: String should match", "tools"),
        ("stop_sequences: each must contain non-whitespace", "stop"),
        ("system.0: nothing", "messages"),
        ("model: claude-x", "model"),
        ("messages are missing", None),
        ("prompt is too long: 5 > 4", None),
        ("thinking.type: no", None),
    ],
)
def test_a_message_that_names_a_place_blames_the_field_it_was_made_of(message: str, param: str | None) -> None:
    error = reply_error("anthropic", 400, {}, to_json(reported("invalid_request_error", message)))
    assert (error.param, error.message) == (param, message)


def test_limits_come_under_both_names() -> None:
    given = {
        "Retry-After": "7",
        "Anthropic-Ratelimit-Requests-Limit": "60",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-01-01T12:00:07Z",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T11:00:00Z",
        "anthropic-ratelimit-input-tokens-limit": "9",
        "anthropic-organization-id": "org",
        "x-other": "y",
    }
    assert limits(given, NOW) == {
        "retry-after": "7",
        "anthropic-ratelimit-requests-limit": "60",
        "x-ratelimit-limit-requests": "60",
        "anthropic-ratelimit-requests-remaining": "0",
        "x-ratelimit-remaining-requests": "0",
        "anthropic-ratelimit-requests-reset": "2026-01-01T12:00:07Z",
        "x-ratelimit-reset-requests": "7s",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T11:00:00Z",
        "x-ratelimit-reset-tokens": "0s",
        "anthropic-ratelimit-input-tokens-limit": "9",
    }


@pytest.mark.parametrize("reset", ["soon", "", "2026-13-01T00:00:00Z"])
def test_a_reset_that_is_no_time_is_kept_under_its_own_name_only(reset: str) -> None:
    assert limits({"anthropic-ratelimit-tokens-reset": reset}, NOW) == {"anthropic-ratelimit-tokens-reset": reset}
