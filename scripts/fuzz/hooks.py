"""Hooks for schemathesis: a deserializer for NDJSON, a filter of requests, and connections of many addresses."""

import itertools
import json
import os
import random
import re
import sys
from typing import Any, override
from zoneinfo import available_timezones

import schemathesis
from schemathesis.generation.meta import TestPhase
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from scripts.fuzz import message_grammar, response_grammar
from scripts.fuzz.refusals import is_refused_by_custom

_ADMINISTRATION = ("/v1/organization/", "/v1/gateway/")
_RESPONSES, _MESSAGES = "/v1/responses", "/v1/messages"
_BEYOND_CHAT = {
    "invalid_value",
    "missing_required_parameter",
    "previous_response_not_found",
    "unsupported_parameter",
    "unsupported_value",
}
_MAX_BUCKETS = {"1m": 1440, "1h": 168, "1d": 31}
_ZONES = available_timezones() | {"", None}
_USES = 20
_ONE_OF = int(os.environ.get("FUZZ_COVERAGE_ONE_OF", "1"))
_draws = random.Random(1)  # noqa: S311 - the same ones in each run
_addresses = itertools.cycle(f"127.0.{third}.{last}" for third in range(1, 250) for last in range(1, 250))
_OF_A_STATE = {"project_archived", "default_project", "key_exists"}
_OF_A_NETWORK = "notification_channel.url"  # whose address is none, or one that the gateway calls no webhook at
_OF_A_FIRST_KEY = ("digest", "expires_in_seconds", "spend_limit", "rate_limits", "model_permissions")


class _Connection(HTTPConnection):
    """Ends after a few requests, and comes from another address of this machine than the one before.

    The gateway stops listening to an address that sends wrong keys only, and half of the requests here have one.
    """

    uses = 0

    @override
    def connect(self) -> None:
        self.source_address = (next(_addresses), 0)
        super().connect()

    @override
    def request(self, *arguments: Any, **named: Any) -> None:
        self.uses += 1
        if self.uses % _USES == 0:
            self.close()
        super().request(*arguments, **named)


if sys.platform == "linux":  # elsewhere, this machine has one such address
    HTTPConnectionPool.ConnectionCls = _Connection


@schemathesis.deserializer("application/x-ndjson")
def read_lines(context: schemathesis.DeserializationContext, response: schemathesis.Response) -> list[Any]:
    """The lines as a list, as the contract describes them; without this, they would not be checked at all."""
    return [json.loads(line) for line in response.content.decode().splitlines()]


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Skip requests that the contract allows and that are a 400 for a reason that no schema can express.

    Each of these has tests of its own: what is not is in tests/translate, administration in tests/api/admin, all else
    in tests/providers/custom. Where time is short, most of the phase Coverage is skipped as well: it goes through all
    that can be wrong with a body one by one, in thousands of requests.
    """
    return _is_described_by_schemas(case) and not _is_left_out(case)


def _is_left_out(case: schemathesis.Case[Any]) -> bool:
    in_coverage = case.meta is not None and case.meta.phase.name is TestPhase.COVERAGE
    return in_coverage and _draws.randrange(_ONE_OF) > 0


def _is_described_by_schemas(case: schemathesis.Case[Any]) -> bool:
    if case.path.startswith(_ADMINISTRATION):
        return not _is_refused_by_administration(case)
    if case.path.endswith("/v1/models"):
        return not _is_of_two_shapes(case)
    if not isinstance(case.body, dict) or _MESSAGES in case.path:
        return True
    if case.path == "/api/generate":
        return not _has_ollama_only_fields(case.body)
    if case.path == "/api/show":
        return bool(case.body.get("model") or case.body.get("name"))
    return not is_refused_by_custom(case.body)


def _is_of_two_shapes(case: schemathesis.Case[Any]) -> bool:
    """Whether a list of models is asked for with what means nothing there: OpenAI's has no pages, and no such header.

    A cursor of Anthropic's has to be a model of the list, which a made-up one is not.
    """
    query: Any = case.query or {}
    return (
        bool(query) if "anthropic-version" not in (case.headers or {}) else bool({"after_id", "before_id"} & set(query))
    )


def _is_refused_by_administration(case: schemathesis.Case[Any]) -> bool:
    query: Any = case.query or {}
    if any(query.get(name) for name in ("after", "before", "page")):  # cursors of what is not there
        return True
    if _is_refused_range(case.path, query):
        return True
    body: Any = case.body if isinstance(case.body, dict) else {}
    if body.get("replaces") is not None:  # a key that is not there
        return True
    if body.get("create_service_account_only") and any(body.get(name) is not None for name in _OF_A_FIRST_KEY):
        return True
    spend = body.get("spend_limit")
    zones = [body.get("time_zone"), spend.get("time_zone") if isinstance(spend, dict) else None]
    return any(isinstance(zone, str) and zone not in _ZONES for zone in zones)


def _is_refused_range(path: str, query: Any) -> bool:  # noqa: ANN401 - made-up values
    """Whether the time ends before it begins, or has more buckets than a page of their width may have."""
    start, end, limit = (_number(query.get(name)) for name in ("start_time", "end_time", "limit"))
    if start is not None and end is not None and end < start:
        return True
    width = query.get("bucket_width", "1d")
    most = _MAX_BUCKETS.get(width, 0) if isinstance(width, str) else 0
    return "usage" in path and limit is not None and limit > most


def _number(value: object) -> int | None:
    """What a query says, which is text in some of schemathesis' phases."""
    return int(str(value)) if re.fullmatch(r"-?\d{1,20}", str(value)) else None


@schemathesis.check
def only_a_state_refuses_valid_data(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """What is valid and refused is so because its project is archived, or cannot be, or has such a key already.

    Or a webhook's address is none that may be called.
    """
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if valid and response.status_code == 400 and case.path.startswith(_ADMINISTRATION):
        error = response.json()["error"]
        assert error["code"] in _OF_A_STATE or error["param"] == _OF_A_NETWORK, response.text  # noqa: S101 - how checks fail


@schemathesis.check
def only_what_chat_cannot_say_is_refused(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """What is valid for the Responses API and refused is so for a reason that no schema can express, and says it."""
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if valid and response.status_code == 400 and _RESPONSES in case.path:
        assert response.json()["error"]["code"] in _BEYOND_CHAT, response.text  # noqa: S101 - how checks fail


@schemathesis.check
def streams_keep_to_their_grammar(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """The events of responses and messages come in a legal order, with an end."""
    is_stream = any("event-stream" in each for each in response.headers.get("content-type", ()))
    if not is_stream or response.stream_cut_short:
        return
    for end, grammar in (("/responses", response_grammar), ("/messages", message_grammar)):
        if case.path.endswith(end):
            grammar.check(response.content)


@schemathesis.check
def only_what_no_schema_says_is_refused_of_messages(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """What is valid for the Messages API and refused is a document or a tool that is not where it should be."""
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if valid and response.status_code == 400 and _MESSAGES in case.path:
        said = response.json()["error"]["message"]
        places = ("messages", "tool_choice", "tools", "max_tokens")
        assert said.startswith(places), response.text  # noqa: S101 - how checks fail


def _has_ollama_only_fields(body: dict[str, Any]) -> bool:
    text_completion = body.get("raw") or body.get("suffix")
    refused_with_it = any(body.get(name) for name in ("system", "images", "format"))
    return bool(
        body.get("template") or body.get("context") or (body.get("prompt") and text_completion and refused_with_it)
    )
