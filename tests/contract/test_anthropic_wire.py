"""How an error looks to Anthropic's clients: its type by its status, the words that agents act on, and the headers."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ai_gateway.contract.anthropic_wire import ANTHROPIC
from ai_gateway.errors import (
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    PayloadTooLarge,
    RateLimited,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)


def shown(error: GatewayError) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(ANTHROPIC.render(error, "req_1"))
    assert (value["type"], value["request_id"]) == ("error", "req_1")
    told: dict[str, Any] = value["error"]
    return told


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("no"), "invalid_request_error"),
        (ModelNotFound("no"), "not_found_error"),
        (PayloadTooLarge("no"), "request_too_large"),
        (RateLimited("no"), "rate_limit_error"),
        (GatewayError("no"), "api_error"),
        (UpstreamTimeout("no"), "timeout_error"),
        (UpstreamOverloaded("no"), "overloaded_error"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_an_error_has_the_type_of_its_status(error: GatewayError, kind: str) -> None:
    assert shown(error) == {"type": kind, "message": "no"}


def test_an_overloaded_upstream_has_a_status_of_its_own_and_nothing_else_changes_its_own() -> None:
    assert ANTHROPIC.known_as is not None
    assert ANTHROPIC.known_as(UpstreamOverloaded("no")).status == 529
    assert ANTHROPIC.known_as(RateLimited("no")).status == 429


def test_a_fault_is_told_with_its_place_as_the_service_writes_it() -> None:
    error = InvalidRequest("Invalid value.", param="messages[2].content[0].text", code="invalid_value")
    assert shown(error)["message"] == "messages.2.content.0.text: Invalid value."
    unknown = InvalidRequest("No.", param="context_management", code="unknown_parameter")
    assert shown(unknown)["message"] == "context_management: Extra inputs are not permitted"


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "the request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
        "prompt is too long: 9000 tokens > 8192 maximum",
    ],
)
def test_a_prompt_that_is_too_long_is_told_in_the_words_that_agents_compact_by(words: str) -> None:
    error = UpstreamRefused(words, status=400, type="invalid_request_error", code=None, param=None)
    assert shown(error)["message"] == "prompt is too long: 9000 tokens > 8192 maximum"


def test_a_prompt_that_is_too_long_by_nobody_knows_how_much_is_told_so_too() -> None:
    error = UpstreamRefused(
        "Too much.", status=400, type="invalid_request_error", code="context_length_exceeded", param=None
    )
    assert shown(error)["message"] == "prompt is too long: Too much."


def test_what_an_upstream_says_beside_its_words_is_kept() -> None:
    error = InvalidRequest("no").changed(extras={"details": {"a": 1}})
    assert shown(error)["details"] == {"a": 1}


def headers(**given: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in given.items()}
    return dict(ANTHROPIC.headers(named, "req_1"))


@pytest.mark.parametrize(("told", "seconds"), [("7", "7"), ("1.2", "2"), ("0.01", "1"), ("soon", "1"), ("nan", "1")])
def test_seconds_to_wait_are_whole(told: str, seconds: str) -> None:
    assert headers(retry_after=told) == {"retry-after": seconds, "request-id": "req_1"}


def test_a_date_to_wait_for_becomes_seconds() -> None:
    then = (datetime.now(UTC) + timedelta(seconds=3600)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert 3500 <= int(headers(retry_after=then)["retry-after"]) <= 3600


def test_limits_have_the_names_and_times_of_this_api() -> None:
    found = headers(
        x_ratelimit_limit_requests="60", x_ratelimit_remaining_tokens="900", x_ratelimit_reset_requests="1m0s"
    )
    assert found["anthropic-ratelimit-requests-limit"] == "60"
    assert found["anthropic-ratelimit-tokens-remaining"] == "900"
    then = datetime.strptime(found["anthropic-ratelimit-requests-reset"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert 30 <= (then - datetime.now(UTC)).total_seconds() <= 62
