"""Stored responses: whose they are, how long they are there, and how a conversation goes on from them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.administration import ADMIN_KEY, ADMINISTERED, Administrator
from tests.support.client import client_of, eventually, get, post
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.responses import events_of, valid

pytestmark = pytest.mark.live

OTHER = "sk-test-another-0123456789"


@pytest.fixture(scope="module")
def live() -> Iterator[LiveGateway]:
    with running_gateway(**ADMINISTERED, ALLOWED_API_KEYS=f"{TEST_KEY},{OTHER}") as running:
        yield running


def create(live: LiveGateway, key: str = TEST_KEY, **body: Any) -> dict[str, Any]:
    reply = post(live, "/v1/responses", {"model": "custom-chat", "input": "one", **body}, key=key)
    assert reply.status_code == 200, reply.text
    made: dict[str, Any] = reply.json()
    return made


def refused(live: LiveGateway, key: str = TEST_KEY, **body: Any) -> dict[str, Any]:
    reply = post(live, "/v1/responses", {"model": "custom-chat", "input": "one", **body}, key=key)
    assert reply.status_code == 400, reply.text
    error: dict[str, Any] = reply.json()["error"]
    return error


def delete(live: LiveGateway, response_id: str, key: str = TEST_KEY) -> tuple[int, dict[str, Any]]:
    with client_of(live, key=key) as client:
        reply = client.delete(f"/v1/responses/{response_id}")
    return reply.status_code, reply.json()


def test_a_response_is_found_by_the_key_that_made_it_and_by_no_other(live: LiveGateway) -> None:
    made = create(live)
    path = f"/v1/responses/{made['id']}"
    assert get(live, path).json() == made
    assert get(live, path, key=OTHER).status_code == 404
    assert get(live, f"{path}/input_items", key=OTHER).status_code == 404
    assert delete(live, made["id"], OTHER)[0] == 404
    error = refused(live, OTHER, previous_response_id=made["id"])
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
    assert get(live, path).json() == made


def test_a_conversation_goes_on_from_a_stored_response(live: LiveGateway) -> None:
    first = create(live, instructions="Be brief.")
    second = create(live, input="two", previous_response_id=first["id"])
    third = create(live, input=[{"role": "user", "content": "three"}], previous_response_id=second["id"])
    assert third["previous_response_id"] == second["id"]
    assert third["instructions"] is None
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
    page = get(live, f"/v1/responses/{third['id']}/input_items?order=asc").json()
    valid("ResponseItemList").validate(page)
    assert [item["content"][0]["text"] for item in page["data"][::2]] == ["one", "two", "three"]
    assert page["data"][1] == first["output"][0]
    assert not page["has_more"]


def test_items_come_page_by_page(live: LiveGateway) -> None:
    items = [{"role": "user", "content": f"{at}"} for at in range(5)]
    path = f"/v1/responses/{create(live, input=items)['id']}/input_items"
    first = get(live, f"{path}?limit=2").json()
    assert [item["content"][0]["text"] for item in first["data"]] == ["4", "3"]
    assert first["has_more"]
    rest = get(live, f"{path}?limit=9&after={first['last_id']}").json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["2", "1", "0"]
    assert get(live, f"{path}?after=nothing").status_code == 400


def test_a_stream_is_stored_as_it_was_told(live: LiveGateway) -> None:
    body = {"model": "custom-chat", "input": "one", "stream": True}
    reported = events_of(post(live, "/v1/responses", body).text)[-1]["response"]
    assert reported["store"] is True
    assert get(live, f"/v1/responses/{reported['id']}").json() == reported
    assert get(live, f"/v1/responses/{reported['id']}?stream=true").status_code == 400


def test_what_a_client_leaves_in_the_foreground_is_never_stored(live: LiveGateway) -> None:
    body = {"model": "fault-slow", "input": "one", "stream": True}
    headers = {"x-request-id": "left-in-the-foreground"}
    with client_of(live) as client, client.stream("POST", "/v1/responses", json=body, headers=headers) as stream:
        lines = stream.iter_lines()
        created = next(line for line in lines if line.startswith("data: "))
        identifier = json.loads(created.removeprefix("data: "))["response"]["id"]
        assert delete(live, identifier)[0] == 404
    eventually(lambda: any(each["request_id"] == "left-in-the-foreground" for each in live.records("client left")))
    assert get(live, f"/v1/responses/{identifier}").status_code == 404


def test_what_is_not_to_be_stored_is_not(live: LiveGateway) -> None:
    made = create(live, store=False)
    assert made["store"] is False
    assert get(live, f"/v1/responses/{made['id']}").status_code == 404
    assert refused(live, previous_response_id=made["id"])["code"] == "previous_response_not_found"


def test_nothing_goes_on_from_what_follows_a_deleted_response(live: LiveGateway) -> None:
    first = create(live)
    second = create(live, previous_response_id=first["id"])
    assert delete(live, first["id"]) == (200, {"id": first["id"], "object": "response", "deleted": True})
    assert delete(live, first["id"])[0] == 404
    assert refused(live, previous_response_id=second["id"])["code"] == "previous_response_not_found"
    assert get(live, f"/v1/responses/{second['id']}").status_code == 200


def test_a_response_in_the_foreground_cannot_be_cancelled(live: LiveGateway) -> None:
    reply = post(live, f"/v1/responses/{create(live)['id']}/cancel", None)
    assert reply.status_code == 400
    assert post(live, "/v1/responses/resp_x/cancel", None).status_code == 404


@pytest.mark.parametrize("response_id", ["resp_%00", "resp_" + "x" * 3000, "%F0%9F%99%82", "a%2Fb"])
def test_odd_ids_are_not_found(live: LiveGateway, response_id: str) -> None:
    assert get(live, f"/v1/responses/{response_id}").status_code == 404


def test_retention_switches_it_off(live: LiveGateway) -> None:
    administrator = Administrator(live, ADMIN_KEY)
    made = create(live)
    administrator.post("projects/default/data_retention", {"retention_type": "zero_data_retention"})
    try:
        without = create(live, store=True)
        assert without["store"] is False
        assert get(live, f"/v1/responses/{without['id']}").status_code == 404
        assert refused(live, background=True)["param"] == "background"
    finally:
        administrator.post("projects/default/data_retention", {"retention_type": "organization_default"})
    assert get(live, f"/v1/responses/{made['id']}").status_code == 200


def test_without_a_store_nothing_is_kept_and_no_history_is_lost() -> None:
    with running_gateway(STORE_URL="off", ALLOWED_API_KEYS=TEST_KEY) as live:
        body = {"model": "custom-chat", "input": "one", "store": True}
        reply = post(live, "/v1/responses", body)
        assert reply.json()["store"] is False
        assert reply.headers["x-gateway-dropped-params"] == "store"
        assert refused(live, previous_response_id="resp_1")["code"] == "previous_response_not_found"
        assert refused(live, background=True)["code"] == "unsupported_parameter"
        assert get(live, "/v1/responses/resp_1").status_code == 404


@pytest.mark.parametrize(
    "metadata", [{f"k{at}": "v" for at in range(17)}, {"k" * 65: "v"}, {"k": "v" * 513}], ids=["pairs", "name", "value"]
)
def test_metadata_is_bounded(live: LiveGateway, metadata: dict[str, str]) -> None:
    assert refused(live, metadata=metadata)["param"] == "metadata"
    most = {f"{'k' * 62}{at:02}": "v" * 512 for at in range(16)}
    assert create(live, metadata=most)["metadata"] == most


def test_items_are_listed_where_an_earlier_response_is_gone(live: LiveGateway) -> None:
    first = create(live, input="one")
    second = create(live, input="two", previous_response_id=first["id"])
    third = create(live, input="three", previous_response_id=second["id"])
    assert delete(live, first["id"])[0] == 200
    listed = get(live, f"/v1/responses/{third['id']}/input_items?order=asc").json()["data"]
    assert [item["content"][0]["text"] for item in listed if item["role"] == "user"] == ["two", "three"]
    assert refused(live, previous_response_id=third["id"])["code"] == "previous_response_not_found"


def test_a_conversation_that_is_too_large_for_the_memory_is_refused() -> None:
    bounds = {"REQUEST_MAX_SIZE": "200000", "BODIES_MAX_SIZE": "1000000"}
    with running_gateway(**ADMINISTERED, ALLOWED_API_KEYS=TEST_KEY, **bounds) as small:
        last = create(small, input="x" * 100_000)
        for _ in range(2):
            last = create(small, input="x" * 100_000, previous_response_id=last["id"])
        body = {"model": "custom-chat", "input": "x" * 100_000, "previous_response_id": last["id"]}
        reply = post(small, "/v1/responses", body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")
        assert get(small, f"/v1/responses/{last['id']}").json() == last


def test_nobody_pushes_out_what_is_anothers() -> None:
    settings = {**ADMINISTERED, "ALLOWED_API_KEYS": f"{TEST_KEY},{OTHER}", "RESPONSES_MAX_SIZE": "1048576"}
    with running_gateway(**settings) as small:
        kept = create(small, OTHER)
        made = [create(small, input="x" * 70_000)["id"] for _ in range(30)]
        assert get(small, f"/v1/responses/{kept['id']}", key=OTHER).json() == kept
        found = [get(small, f"/v1/responses/{each}").status_code for each in made]
        assert found[-1] == 200
        assert found[0] == 404
        assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("form", [{"type": "item_reference"}, {"type": None}, {}], ids=["named", "null", "bare"])
def test_an_item_that_is_only_referred_to_is_the_stored_one(live: LiveGateway, form: dict[str, Any]) -> None:
    first = create(live, input=[{"role": "user", "content": "one"}])
    (given,) = get(live, f"/v1/responses/{first['id']}/input_items").json()["data"]
    references = [{**form, "id": item["id"]} for item in (given, *first["output"])]
    asked = [*references, {"role": "user", "content": "two"}]
    second = create(live, input=asked)
    listed = get(live, f"/v1/responses/{second['id']}/input_items?order=asc").json()
    valid("ResponseItemList").validate(listed)
    assert listed["data"][:2] == [given, *first["output"]]
    spelt = create(live, input=[given, *first["output"], asked[-1]])
    assert second["usage"]["input_tokens"] == spelt["usage"]["input_tokens"]
    body = {"model": "custom-chat", "input": asked}
    assert events_of(post(live, "/v1/responses", {**body, "stream": True}).text)[-1]["type"] == "response.completed"
    assert post(live, "/v1/responses", {**body, "background": True}).json()["status"] == "queued"
    for path in ("input_tokens", "compact"):
        assert post(live, f"/v1/responses/{path}", body).status_code == 200
    nowhere = [{**form, "id": f"{references[0]['id'][:-4]}ffff"}, {**form, "id": "msg_none"}]
    for key, reference in ((OTHER, references[0]), (TEST_KEY, nowhere[0]), (TEST_KEY, nowhere[1])):
        assert refused(live, key, input=[asked[-1], reference])["param"] == "input[1].id"
    assert delete(live, first["id"])[0] == 200
    assert refused(live, input=asked)["param"] == "input[0].id"


def test_a_few_bytes_stand_for_no_more_than_is_kept(live: LiveGateway) -> None:
    first = create(live, input=[{"role": "user", "content": "x" * 50_000}])
    (given,) = get(live, f"/v1/responses/{first['id']}/input_items").json()["data"]
    reference = {"type": "item_reference", "id": given["id"]}
    assert "twice" in refused(live, input=[reference] * 2_000)["message"]
    elsewhere = [{"type": "item_reference", "id": f"msg_{at:048x}0000"} for at in range(20_000)]
    assert "20000 responses" in refused(live, input=elsewhere)["message"]
    assert refused(live, input=elsewhere[:100])["param"] == "input[0].id"


def test_no_previous_response_is_none_that_has_no_name(live: LiveGateway) -> None:
    assert refused(live, previous_response_id="")["code"] == "previous_response_not_found"
    assert create(live, previous_response_id=None)["previous_response_id"] is None
