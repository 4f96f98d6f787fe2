"""Responses in the background of an upstream that speaks this API: it is asked as its caller asks, but in the
foreground, and what it says is stored, followed, cancelled and billed as what is translated is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.fuzz.response_grammar import Checker
from tests.support.administration import ADMIN_KEY, ADMINISTERED, Administrator
from tests.support.background import begin, ended, follow, id_of, kinds, numbers
from tests.support.client import client_of, eventually, frames_of, get, post
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.native_responses import (
    ALL,
    BEFORE_WORDS,
    FINAL,
    OUTPUT,
    SEARCH,
    THOUGHT,
    UPSTREAM_ID,
    NativeTap,
    said,
)
from tests.support.responses import valid
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

OTHER = "sk-test-another-0123456789"


@pytest.fixture(scope="module")
def tap() -> NativeTap:
    return NativeTap()


@pytest.fixture(scope="module")
def lab(tap: NativeTap) -> Iterator[Upstream]:
    with running_upstream(tap.behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(lab: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    config = tmp_path_factory.mktemp("native") / "gateway.toml"
    table = f'base_url = "{lab.url}"\napi_key = "sk-lab"\nwires = ["responses"]\n'
    config.write_text("\n".join(f"[providers.{name}]\n{table}" for name in ("lab", "old", "older")))
    keys = f"{TEST_KEY},{OTHER}"
    with running_gateway(**ADMINISTERED, ALLOWED_API_KEYS=keys, GATEWAY_CONFIG=str(config)) as running:
        yield running


def start(live: LiveGateway, model: str, provider: str = "lab", **more: Any) -> dict[str, Any]:
    body = {"model": model, "input": "hello", "background": True, **more}
    reply = post(live, f"/{provider}/v1/responses", body)
    assert reply.status_code == 200, reply.text
    queued: dict[str, Any] = reply.json()
    valid("Response").validate(queued)
    assert [queued[name] for name in ("status", "background", "store", "output")] == ["queued", True, True, []]
    return queued


def is_legal(events: list[dict[str, Any]]) -> dict[str, Any]:
    checker = Checker()
    for event in events:
        valid("ResponseStreamEvent").validate(event)
        checker.feed(event)
    return checker.end()


def records(live: LiveGateway, model: str) -> list[dict[str, Any]]:
    """The calls of a model that are on record."""
    found: list[Any] = []

    def is_there() -> bool:
        data = Administrator(live, ADMIN_KEY).get("../gateway/requests")["data"]
        found[:] = [each for each in data if each["model"] == model]
        return bool(found)

    eventually(is_there)
    return found


HOSTED = [{"type": "web_search", "external_web_access": False}, {"type": "file_search", "vector_store_ids": ["vs_1"]}]


def test_a_whole_one_goes_there_as_it_came_and_comes_back_as_the_one_that_was_promised(
    live: LiveGateway, lab: Upstream
) -> None:
    own: dict[str, Any] = {
        "own_param": [1, {"a": None}],
        "tools": HOSTED,
        "tool_choice": "required",
        "metadata": {"z": "1"},
    }
    queued = start(live, "whole", **own)
    assert queued["id"] != UPSTREAM_ID
    assert queued["metadata"] == {"z": "1"}
    response = ended(live, queued["id"])
    kept = {name: queued[name] for name in ("id", "created_at", "background", "store")}
    assert response == {**FINAL, **kept}
    seen = lab.last("whole")
    assert seen.path == "/v1/responses"
    assert seen.json == {"model": "whole", "input": "hello", **own}
    (record,) = records(live, "whole")
    assert (record["operation"], record["status"]) == ("createResponse", 200)
    assert record["tokens"]["input"] == 20
    assert get(live, f"/v1/responses/{queued['id']}", key=OTHER).status_code == 404
    assert get(live, f"/v1/responses/{queued['id']}/input_items").json()["data"][0]["content"][0]["text"] == "hello"


def test_its_events_are_told_as_they_come_and_again_from_any_number_on(
    live: LiveGateway, lab: Upstream, tap: NativeTap
) -> None:
    tap.limits["told"] = BEFORE_WORDS + 2
    first = begin(live, "told")
    first.has(BEFORE_WORDS + 2)
    late = follow(live, id_of(first), after=4)
    late.has(BEFORE_WORDS + 2)
    tap.limits["told"] = ALL
    whole = first.end()
    assert kinds(whole)[:3] == ["created", "queued", "in_progress"]
    final = is_legal(whole)
    assert final["output"] == OUTPUT
    assert {event["response"]["id"] for event in whole if "response" in event} == {id_of(first)}
    assert late.end() == whole[5:]
    assert follow(live, id_of(first)).end() == whole
    assert get(live, f"/v1/responses/{id_of(first)}").json() == final
    assert final["own_field"] == {"kept": [1]}
    assert lab.last("told").json["stream"] is True
    assert "background" not in lab.last("told").json
    (record,) = records(live, "lab/told")
    assert (record["stream"], record["tokens"]["output"]) == (True, 5)


def test_events_without_numbers_are_numbered_and_an_end_without_items_has_them(live: LiveGateway) -> None:
    for model in ("unnumbered", "forgets"):
        assert is_legal(begin(live, model).end())["output"] == OUTPUT


def test_one_in_the_foreground_ends_and_is_kept_with_the_items_that_its_end_left_out(live: LiveGateway) -> None:
    reply = post(live, "/lab/v1/responses", {"model": "forgets#kept", "input": "x", "stream": True})
    last = json.loads(frames_of(reply.text)[-3].partition("data: ")[2])
    assert (last["type"], last["response"]["output"]) == ("response.completed", OUTPUT)
    assert get(live, f"/v1/responses/{UPSTREAM_ID}").json()["output"] == OUTPUT


def test_one_that_is_cancelled_keeps_what_there_is(live: LiveGateway, lab: Upstream, tap: NativeTap) -> None:
    tap.limits["cancelled"] = BEFORE_WORDS + 2
    first = begin(live, "cancelled")
    first.has(BEFORE_WORDS + 2)
    cancelled = post(live, f"/v1/responses/{id_of(first)}/cancel", None).json()
    valid("Response").validate(cancelled)
    assert (cancelled["status"], cancelled["error"]) == ("cancelled", None)
    assert cancelled["output"] == [SEARCH, THOUGHT, said("word0 word1 ", "incomplete")]
    assert lab.last("cancelled").gone.wait(20)
    events = first.end()
    assert is_legal(events) == cancelled
    assert follow(live, id_of(first)).end() == events
    assert ended(live, id_of(first)) == cancelled
    assert post(live, f"/v1/responses/{id_of(first)}/cancel", None).json() == cancelled
    assert len(records(live, "lab/cancelled")) == 1


def test_a_whole_one_that_is_cancelled_ends_its_call_upstream(live: LiveGateway, lab: Upstream) -> None:
    queued = start(live, "hangs#cancelled")
    seen = lab.last("hangs#cancelled")
    cancelled = post(live, f"/v1/responses/{queued['id']}/cancel", None).json()
    assert cancelled == {**queued, "status": "cancelled"}
    assert seen.gone.wait(20)


def test_one_that_is_deleted_ends_its_call_upstream(live: LiveGateway, lab: Upstream, tap: NativeTap) -> None:
    tap.limits["deleted"] = BEFORE_WORDS
    first = begin(live, "deleted")
    first.has(BEFORE_WORDS)
    with client_of(live) as client:
        assert client.delete(f"/v1/responses/{id_of(first)}").status_code == 200
    assert lab.last("deleted").gone.wait(20)
    assert kinds(first.end())[-1] == "error"
    assert get(live, f"/v1/responses/{id_of(first)}").status_code == 404


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("cut", "server_error"),
        ("errs", "rate_limit_exceeded"),
        ("fails", "server_error"),
        ("refuses", "rate_limit_exceeded"),
    ],
)
def test_one_that_fails_says_why_and_keeps_what_there_is(live: LiveGateway, model: str, code: str) -> None:
    events = begin(live, model).end()
    assert numbers(events) == [*range(len(events))]
    assert kinds(events)[-1] == "failed"
    failed = events[-1]["response"]
    assert (failed["status"], failed["error"]["code"]) == ("failed", code)
    if model in {"cut", "errs"}:
        assert failed["output"] == [SEARCH, THOUGHT, said("word0 word1 ", "incomplete")]
    assert ended(live, failed["id"]) == failed
    assert follow(live, failed["id"]).end() == events
    assert len(records(live, f"lab/{model}")) == 1


@pytest.mark.parametrize(("model", "status"), [("unended", "failed"), ("silent", "completed"), ("refuses", "failed")])
def test_a_whole_one_always_ends(live: LiveGateway, model: str, status: str) -> None:
    response = ended(live, start(live, f"{model}#whole")["id"])
    assert response["status"] == status
    assert (response["error"] is None) is (status == "completed")
    valid("Response").validate(response)


@pytest.mark.parametrize(("provider", "stream"), [("old", False), ("older", True)])
def test_where_the_upstream_turns_out_to_have_no_such_operation_it_is_translated(
    live: LiveGateway, lab: Upstream, provider: str, stream: bool
) -> None:
    model = f"lacks#{provider}"
    if stream:
        body = {"model": model, "input": "x", "background": True, "stream": True}
        reply = post(live, f"/{provider}/v1/responses", body)
        assert '"status":"completed"' in reply.text
        response_id = reply.text.partition('"id":"')[2].partition('"')[0]
    else:
        response_id = start(live, model, provider)["id"]
    response = ended(live, response_id)
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["text"] == "translated"
    assert [seen.path.rpartition("/")[2] for seen in lab.seen(model)] == ["responses", "completions"]
    assert len(records(live, model)) == 1


def test_what_was_said_before_goes_along_and_comes_back(live: LiveGateway, lab: Upstream) -> None:
    first = ended(live, start(live, "whole#first")["id"])
    second = start(live, "whole#second", input="two", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    assert ended(live, second["id"])["previous_response_id"] == first["id"]
    sent = lab.last("whole#second").json
    assert "previous_response_id" not in sent
    assert [item["type"] for item in sent["input"]] == ["message", *(item["type"] for item in OUTPUT), "message"]


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_that_only_the_gateway_can_read_is_left_out_and_named(
    live: LiveGateway, lab: Upstream, background: bool, stream: bool
) -> None:
    body = {"model": "custom-chat", "input": "x", "include": ["reasoning.encrypted_content"]}
    made = post(live, "/custom/v1/responses", {**body, "reasoning": {"effort": "high"}}).json()
    thought, *rest = made["output"]
    assert thought["encrypted_content"].startswith("gw1.")
    model = f"whole#sealed-{background}-{stream}"
    given = [{"role": "user", "content": "a"}, thought, *rest]
    asked = {"model": model, "input": given, "background": background, "stream": stream}
    reply = post(live, "/lab/v1/responses", asked)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-gateway-dropped-params"] == "input.reasoning"
    assert lab.last(model).json["input"] == [given[0], *rest]


@pytest.mark.parametrize("background", [False, True])
def test_an_item_of_another_provider_goes_along_in_place_of_its_name(
    live: LiveGateway, lab: Upstream, background: bool
) -> None:
    made = post(live, "/custom/v1/responses", {"model": "custom-chat", "input": "one"}).json()
    (item,) = made["output"]
    model = f"whole#referred-{background}"
    own = {"type": "item_reference", "id": "msg_of_the_upstream"}
    given = [{"type": "item_reference", "id": item["id"]}, own, {"role": "user", "content": "two"}]
    body = {"model": model, "input": given, "background": background}
    assert post(live, "/lab/v1/responses", body).status_code == 200
    assert lab.last(model).json["input"] == [item, *given[1:]]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"store": False}, "background"),
        ({"previous_response_id": "resp_none"}, "previous_response_id"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_is_refused_before_anything_is_queued(
    live: LiveGateway, lab: Upstream, more: dict[str, Any], param: str, stream: bool
) -> None:
    body = {"model": "whole#refused", "input": "x", "background": True, "stream": stream, **more}
    refused = post(live, "/lab/v1/responses", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert lab.seen("whole#refused") == []
