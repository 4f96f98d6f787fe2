"""Whether to ask again, and how long to wait before."""

import pytest

from ai_gateway.errors import (
    GatewayError,
    InvalidRequest,
    Unavailable,
    UpstreamAuthError,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamRefused,
    UpstreamStreamTruncated,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from ai_gateway.resilience.retry import RetryPolicy, retry_after


def refused(status: int, **headers: str) -> UpstreamRefused:
    reported = {name.replace("_", "-"): value for name, value in headers.items()}
    return UpstreamRefused("no", status=status, type="t", code=None, param=None, headers=reported)


@pytest.mark.parametrize(
    "error",
    [
        UpstreamUnreachable("x"),
        UpstreamStreamTruncated("x"),
        *(UpstreamError("x").answered(status) for status in (500, 502, 503, 504, 529)),
        UpstreamTimeout("x").answered(408),
        UpstreamError("x", headers={"x-should-retry": "true"}).answered(501),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.upstream_status}",
)
def test_what_can_end_otherwise_is_tried_again(error: GatewayError) -> None:
    assert RetryPolicy().pause(1, error, 60, 0.5) == 0.25


@pytest.mark.parametrize(
    "error",
    [
        *(refused(status) for status in (400, 404, 409, 413, 422, 429)),
        UpstreamTimeout("our own deadline"),
        UpstreamAuthError("x").answered(401),
        *(UpstreamError("x").answered(status) for status in (501, 505)),
        UpstreamError("x", headers={"x-should-retry": "false"}).answered(402),
        UpstreamUnavailable("breaker"),
        UpstreamInvalidResponse("x"),
        InvalidRequest("x"),
        Unavailable("x"),
        GatewayError("x"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.status}",
)
def test_what_the_caller_or_the_operator_has_to_mend_is_not(error: GatewayError) -> None:
    assert RetryPolicy().pause(1, error, 60, 0.5) is None


@pytest.mark.parametrize("status", [408, 409, 429])
def test_refusals_that_pass_by_themselves_are_tried_again_if_configured(status: int) -> None:
    assert RetryPolicy(refusals=frozenset({status})).pause(1, refused(status), 60, 1.0) == 0.5
    assert RetryPolicy(refusals=frozenset()).pause(1, refused(status), 60, 1.0) is None


def test_no_retries_is_an_option() -> None:
    assert RetryPolicy(max_retries=0).pause(1, UpstreamUnreachable("x"), 60, 0.5) is None


def test_pauses_double_up_to_the_longest_and_are_spread_by_chance() -> None:
    policy = RetryPolicy(max_retries=6, base=1, max_pause=8)
    error = UpstreamUnreachable("x")
    assert [policy.pause(failed, error, 100, 1.0) for failed in range(1, 8)] == [1, 2, 4, 8, 8, 8, None]
    assert policy.pause(3, error, 100, 0.25) == 1
    assert policy.pause(3, error, 100, 0.0) == 0


def test_nothing_is_tried_that_could_not_begin_before_the_deadline() -> None:
    assert RetryPolicy().pause(1, UpstreamUnreachable("x"), 0.2, 0.5) is None


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"retry_after": "3"}, 3),
        ({"retry_after": "0"}, 0),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": "21"}, None),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry_after": "-1"}, 0.25),
        ({"retry_after": "²"}, 0.25),
    ],
)
def test_the_upstreams_own_pause_counts_up_to_a_cap(headers: dict[str, str], pause: float | None) -> None:
    policy = RetryPolicy(refusals=frozenset({429}))
    assert policy.pause(1, refused(429, **headers), 60, 0.5) == pause


def test_a_pause_is_read_from_either_header() -> None:
    assert retry_after(refused(429, retry_after="1.5"), 0) == 1.5
    assert retry_after(refused(429), 0) is None


@pytest.mark.parametrize(
    ("date", "wait"),
    [
        ("Thu, 01 Jan 1970 00:01:40 GMT", 10),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),  # it has passed
        ("Thu, 99 Jan 1970 00:01:40 GMT", None),
        ("soon GMT", None),
    ],
)
def test_a_time_to_come_back_at_counts_from_now(date: str, wait: float | None) -> None:
    assert retry_after(refused(429, retry_after=date), 90) == wait
