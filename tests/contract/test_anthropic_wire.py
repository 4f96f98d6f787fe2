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
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)


def shown(error: GatewayError) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(ANTHROPIC.render(error, "req_1"))
    assert (value["type"], value["request_id"]) == ("error", "req_1")
    reported: dict[str, Any] = value["error"]
    return reported


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
    assert ANTHROPIC.known_as(UpstreamError("no").answered(529)).status == 529, "routers pass it on"
    assert ANTHROPIC.known_as(UpstreamError("no").answered(503)).status == 502


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
        "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens.",
        "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
        "9999 tokens: 9000 tokens from the input messages and 999 tokens for the completion.",
        "'max_tokens' or 'max_completion_tokens' is too large: 5. This model's maximum context length is 8192 "
        "tokens and your request has 9000 input tokens (5 > 8192 - 9000).",
        "Input length 9000 exceeds the maximum context length 8192",
        "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        "The input token count (9000) exceeds the maximum number of tokens allowed (8192).",
        "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
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


@pytest.mark.parametrize(
    "words",
    [
        "prompt too long; exceeded max context length by 808 tokens",
        "the request exceeds the available context size. try increasing it",
        "The input is longer than the context window.",
    ],
)
def test_words_without_numbers_are_told_so_too(words: str) -> None:
    error = UpstreamRefused(words, status=400, type="invalid_request_error", code=None, param=None)
    assert shown(error)["message"] == f"prompt is too long: {words}"


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens is too large: 9000. This model supports at most 8192 completion tokens.",
        "The context window of the editor is not a number.",
    ],
)
def test_an_answer_that_would_be_too_long_is_no_prompt_that_is(words: str) -> None:
    error = UpstreamRefused(words, status=400, type="invalid_request_error", code=None, param=None)
    assert shown(error)["message"] == words


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (4000 in the messages, "
        "5000 in the completion). Please reduce the length of the messages or completion.",
        "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens (4000 of text "
        "input, 5000 in the output). Please reduce the length of either one.",
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 8192 "
        "tokens and your request has 4000 input tokens (5000 > 8192 - 4000).",
        "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of "
        "9000 tokens: 4000 tokens from the input messages and 5000 tokens for the completion.",
    ],
)
def test_a_prompt_that_leaves_no_room_for_the_answer_is_told_in_the_words_that_agents_ask_for_less_by(
    words: str,
) -> None:
    error = UpstreamRefused(words, status=400, type="invalid_request_error", code=None, param=None)
    reported = "input length and `max_tokens` exceed context limit: 4000 + 5000 > 8192"
    assert shown(error)["message"].startswith(reported)


def test_numbers_beside_the_words_count_as_well() -> None:
    error = UpstreamRefused("Too much.", status=400, type="exceed_context_size_error", code=None, param=None)
    error.extras = {"n_prompt_tokens": 9000, "n_ctx": 8192}
    assert shown(error)["message"] == "prompt is too long: 9000 tokens > 8192 maximum"


@pytest.mark.parametrize(
    ("param", "code", "words", "reported"),
    [
        ("reasoning_effort", "unknown_parameter", "No.", "output_config.effort: Extra inputs are not permitted"),
        (None, None, "Unrecognized request argument supplied: reasoning_effort",
         "output_config.effort: Extra inputs are not permitted"),
        (None, None, "Unknown parameter: 'top_p'.", "top_p: Extra inputs are not permitted"),
        ("temperature", "unsupported_parameter", "Unsupported parameter: 'temperature' is not supported here.",
         "temperature: Unsupported parameter: 'temperature' is not supported here."),
        ("stop", None, "Too many.", "stop_sequences: Too many."),
        ("messages[3].content", None, "This model takes no images.", "This model takes no images."),
        (None, None, "No.", "No."),
    ],
)  # fmt: skip
def test_places_in_what_an_upstream_got_are_told_by_the_callers_names(
    param: str | None, code: str | None, words: str, reported: str
) -> None:
    error = UpstreamRefused(words, status=400, type="invalid_request_error", code=code, param=param)
    assert shown(error)["message"] == reported


def test_what_an_upstream_says_beside_its_words_is_kept() -> None:
    error = InvalidRequest("no").changed(extras={"details": {"a": 1}})
    assert shown(error)["details"] == {"a": 1}


def headers(**given: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in given.items()}
    return dict(ANTHROPIC.headers(named, "req_1"))


@pytest.mark.parametrize(
    ("reported", "seconds"), [("7", "7"), ("1.2", "2"), ("0.01", "1"), ("soon", "1"), ("nan", "1")]
)
def test_seconds_to_wait_are_whole(reported: str, seconds: str) -> None:
    assert headers(retry_after=reported) == {"retry-after": seconds, "request-id": "req_1"}


def test_a_date_to_wait_for_becomes_seconds() -> None:
    then = (datetime.now(UTC) + timedelta(seconds=3600)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert 3500 <= int(headers(retry_after=then)["retry-after"]) <= 3600
    assert headers(retry_after="Fri, 27 Nov 2099 13:00:00 GMT")["retry-after"] == "86400"
    assert headers(retry_after="Fri, 27 Nov 1999 13:00:00 GMT")["retry-after"] == "0"


@pytest.mark.parametrize(
    ("reported", "seconds"), [("1500", "2"), ("0", "0"), ("1", "1"), ("9" * 400, "86400"), ("soon", None), ("-5", None)]
)
def test_milliseconds_to_wait_are_told_in_seconds_too(reported: str, seconds: str | None) -> None:
    assert headers(retry_after_ms=reported).get("retry-after") == seconds
    assert headers(retry_after="7", retry_after_ms=reported)["retry-after"] == "7"


def test_limits_have_the_names_and_times_of_this_api() -> None:
    found = headers(
        x_ratelimit_limit_requests="60", x_ratelimit_remaining_tokens="900", x_ratelimit_reset_requests="1m0s"
    )
    assert found["anthropic-ratelimit-requests-limit"] == "60"
    assert found["anthropic-ratelimit-tokens-remaining"] == "900"
    then = datetime.strptime(found["anthropic-ratelimit-requests-reset"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert 30 <= (then - datetime.now(UTC)).total_seconds() <= 62
