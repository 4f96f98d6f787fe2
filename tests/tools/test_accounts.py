"""What tools cost, who may use them, and what is kept: each round is a call with a record of its own."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import client_of, eventually, get, post
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream
from tests.tools.asking import SEARCH
from tests.tools.scripted import SCRIPTS, Says, search

pytestmark = pytest.mark.live

# Five tokens of output each round, of a cent each; a search is two cents.
PRICES = """
[prices."lab/*"]
input = 0
output = 10000

[prices."gateway:web_search"]
call = 0.02
"""
PATH = "/lab/v1/chat/completions"


@pytest.fixture(scope="module")
def live(model: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    home = tmp_path_factory.mktemp("tools")
    (home / "gateway.toml").write_text(PRICES)
    env = {"PROVIDER_LAB_BASE_URL": model.url, "TOOL_WEB_SEARCH": "custom", "TOOL_CALLS_MAX": "2", **ONE_ATTEMPT}
    env |= {"ALLOWED_API_KEYS": TEST_KEY, "ADMIN_API_KEY": ADMIN_KEY}
    with running_gateway(GATEWAY_CONFIG=str(home / "gateway.toml"), **env) as running:
        yield running


@pytest.fixture(scope="module")
def admin(live: LiveGateway) -> Administrator:
    return Administrator(live)


def body_of(name: str, *rounds: Says, **fields: Any) -> dict[str, Any]:
    SCRIPTS[name] = list(rounds)
    return {"model": name, "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH], "max_tokens": 5, **fields}


def records_of(live: LiveGateway, request_id: str, number: int) -> list[dict[str, Any]]:
    """The records of a request, by their rounds, once there are so many."""
    path = f"/v1/gateway/requests?request_id={request_id}"
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = get(live, path, key=ADMIN_KEY).json()["data"]
        return len(found) >= number

    eventually(are_there)
    assert len(found) == number
    return sorted(found, key=lambda record: record["round"] or 0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_each_round_has_a_record_with_its_tools_and_the_caller_learns_the_sum(
    live: LiveGateway, admin: Administrator, stream: bool
) -> None:
    key = str(admin.account(admin.project())["api_key"]["value"])
    rounds = Says(calls=(search(), search("search-fails"))), Says(calls=(search(),)), Says("Done.")
    body = body_of("costs", *rounds, stream=stream)
    if stream:
        body["stream_options"] = {"include_usage": True}
    reply = post(live, PATH, body, key=key, headers={"x-gateway-include-cost": "true"})
    assert reply.status_code == 200, reply.text
    first, second, third = records_of(live, reply.headers["x-request-id"], 3)
    assert [each["round"] for each in (first, second, third)] == [1, 2, 3]
    assert [each["cost_usd"] for each in (first, second, third)] == [0.09, 0.07, 0.05]
    assert sorted(tool["failed"] for tool in first["tools"]) == [False, True]
    assert {(tool["type"], tool["cost_usd"]) for tool in first["tools"]} == {("gateway:web_search", 0.02)}
    assert len(second["tools"]) == 1
    assert third["tools"] == []
    assert {each["api_key_id"] for each in (first, second, third)} == {first["api_key_id"]}
    if stream:
        usage = [line for line in reply.text.splitlines() if '"usage":{' in line][-1]
        assert '"cost":0.21' in usage
    else:
        assert reply.headers["x-gateway-cost"] == "0.21"


def test_a_request_without_tools_is_no_round(live: LiveGateway) -> None:
    body = body_of("plain", Says("Done."))
    del body["tools"]
    reply = post(live, PATH, body)
    (record,) = records_of(live, reply.headers["x-request-id"], 1)
    assert (record["round"], record["tools"]) == (None, [])


def team(admin: Administrator, cents: int) -> str:
    project = admin.project()
    limit = {"threshold_amount": cents, "currency": "USD", "interval": "month"}
    admin.post(f"projects/{project}/spend_limit", limit)
    return str(admin.account(project)["api_key"]["value"])


def test_what_tools_may_cost_is_held_before_the_model_is_asked(
    live: LiveGateway, admin: Administrator, model: Upstream
) -> None:
    # 5 cents for the tokens, and 4 for the two searches that the round may call.
    refused = post(live, PATH, body_of("held", Says("Done.")), key=team(admin, 8))
    assert refused.status_code == 429
    assert model.seen("held") == []
    assert post(live, PATH, body_of("held", Says("Done.")), key=team(admin, 9)).status_code == 200


def test_a_cap_holds_in_the_middle_of_a_loop(live: LiveGateway, admin: Administrator, model: Upstream) -> None:
    # The first round costs 5 and 2 cents; the second needs 9 more.
    key = team(admin, 14)
    stops = post(live, PATH, body_of("stops", Says(calls=(search(),))), key=key)
    assert (stops.status_code, stops.json()["error"]["code"]) == (429, "insufficient_quota")
    assert len(model.seen("stops")) == 1
    (record,) = records_of(live, stops.headers["x-request-id"], 1)
    assert (record["round"], record["cost_usd"], record["end"]) == (1, 0.07, "whole")


def test_a_project_has_only_the_tools_that_an_administrator_has_left_it(
    live: LiveGateway, admin: Administrator
) -> None:
    project = admin.project()
    key = str(admin.account(project)["api_key"]["value"])
    path = f"projects/{project}/hosted_tool_permissions"
    assert admin.get(path)["web_search"] == {"enabled": True}, "as it is configured, until it is decided"
    assert [tool["type"] for tool in get(live, "/v1/gateway/tools", key=key).json()["data"]] == ["gateway:web_search"]
    admin.post(path, {"web_search": {"enabled": False}})
    refused = post(live, PATH, body_of("may-not", Says("Done.")), key=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "tool_not_allowed")
    assert get(live, "/v1/gateway/tools", key=key).json()["data"] == []
    admin.post(path, {"web_search": {"enabled": True}})
    assert post(live, PATH, body_of("may-not", Says("Done.")), key=key).status_code == 200


def test_the_list_of_tools_says_what_a_model_is_told_and_what_a_call_costs(live: LiveGateway) -> None:
    listed = get(live, "/v1/gateway/tools").json()
    assert listed["object"] == "list"
    (tool,) = listed["data"]
    assert tool["price_usd"] == 0.02
    assert "provider" not in tool
    assert [function["name"] for function in tool["functions"]] == ["gateway_web_search"]
    assert get(live, "/v1/gateway/tools", key=None).status_code == 401


def test_calls_of_tools_are_counted(live: LiveGateway) -> None:
    def counted(outcome: str) -> float:
        line = f'ai_gateway_tool_calls_total{{outcome="{outcome}",tool="web_search"}} '
        found = [each for each in get(live, "/metrics").text.splitlines() if each.startswith(line)]
        return float(found[0].removeprefix(line)) if found else 0.0

    before = [counted(outcome) for outcome in ("completed", "failed")]
    post(live, PATH, body_of("counted", Says(calls=(search(), search("search-fails"))), Says("Done.")))
    assert [counted(outcome) for outcome in ("completed", "failed")] == [count + 1 for count in before]


def test_the_log_has_the_rounds_of_a_request_and_what_they_took_together(live: LiveGateway) -> None:
    reply = post(live, PATH, body_of("logged", Says(calls=(search(),)), Says("Done.")))
    record = next(each for each in live.records("request") if each["request_id"] == reply.headers["x-request-id"])
    assert (record["rounds"], record["tokens_in"], record["tokens_out"]) == (2, 20, 10)


def test_the_tokens_of_all_rounds_are_in_the_metrics(live: LiveGateway) -> None:
    def counted() -> float:
        lines = get(live, "/metrics").text.splitlines()
        return sum(float(each.split()[-1]) for each in lines if each.startswith("ai_gateway_tokens_total{"))

    before = counted()
    post(live, PATH, body_of("metered", Says(calls=(search(),)), Says("Done.")))
    assert counted() == before + 30


def test_a_stream_that_its_client_leaves_in_a_later_round_is_settled(live: LiveGateway) -> None:
    body = body_of("left", Says(calls=(search(),)), Says("Late.", pause_s=20), stream=True)
    with client_of(live) as client, client.stream("POST", PATH, json=body) as reply:
        for line in reply.iter_lines():
            if "completed" in line:
                break
        identifier = reply.headers["x-request-id"]
    first, second = records_of(live, identifier, 2)
    assert (first["end"], first["cost_usd"], second["end"]) == ("whole", 0.07, "left")
