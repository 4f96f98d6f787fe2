"""Money and limits on the wire: what may be spent is a hard bound, and each call leaves one record."""

import asyncio
import json
import random
import re
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ai_gateway.accounts.refusals import usd
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import CHAT, NO_CERTIFICATES, TIMEOUT_S, body_of, frames_of
from tests.support.gateway import LiveGateway, in_front_of, run_cli, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

# A token of output is a quarter of a cent, so that the four of each reply are one cent. What goes in costs nothing.
PRICES = """
[prices."lab/*"]
input = 0
output = 2500

[prices."lab/free"]
input = 0
output = 0

[prices."lab/dust"]
input = "0.000003"
output = "0.1"

[prices."lab/reads"]
input = 1
output = 0

[prices."lab/looks-up"]
input = 0
output = 0
searches = 10

[prices."lab/tiered"]
input = 0
output = 2500

[prices."lab/tiered".service_tiers.flex]
input = 0
output = 1250

[prices."lab/tiered".service_tiers.priority]
input = 0
output = 5000

[routes.either]
targets = ["lab/first", "lab/second"]
"""
CENT = 10**10
_PATH = "/lab/v1/chat/completions"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def live(shared_upstream: Upstream, data: Path) -> Iterator[LiveGateway]:
    (data / "gateway.toml").write_text(PRICES)
    with running_gateway(
        **in_front_of(shared_upstream),
        ADMIN_API_KEY=ADMIN_KEY,
        GATEWAY_DATA_DIR=str(data),
        GATEWAY_CONFIG=str(data / "gateway.toml"),
    ) as live:
        yield live


@pytest.fixture(scope="module")
def admin(live: LiveGateway) -> Administrator:
    return Administrator(live)


def _team(admin: Administrator, cents: int | None = None) -> tuple[str, str]:
    """A new project with one key, and what it may spend: its id, and the key."""
    project = admin.project()
    if cents is not None:
        admin.post(
            f"projects/{project}/spend_limit", {"threshold_amount": cents, "currency": "USD", "interval": "month"}
        )
    return project, admin.account(project)["api_key"]["value"]


def _ask(live: LiveGateway, key: str, model: str = "m", **fields: Any) -> httpx2.Response:
    body = body_of(CHAT, model, **{"max_tokens": 4, **fields})
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        return client.post(_PATH, headers={"authorization": f"Bearer {key}"}, json=body)


def _ask_model(live: LiveGateway, key: str, model: str) -> httpx2.Response:
    """Where the model decides who answers."""
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        return client.post(
            "/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json=body_of(CHAT, model, max_tokens=4)
        )


async def _ask_all(
    live: LiveGateway, key: str, models: Sequence[str], *, leave: bool = False, **fields: Any
) -> list[int]:
    """The status of each of these calls, all at once; some of their clients leave at any time, if they may."""
    chance = random.Random(7)
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES, limits=limits
    ) as client:

        async def one(model: str) -> int:
            body = body_of(CHAT, model, max_tokens=4, stream=True, **fields)
            headers = {"authorization": f"Bearer {key}"}
            async with client.stream("POST", _PATH, headers=headers, json=body) as response:
                if not leave or chance.random() < 0.5:
                    await response.aread()
                return response.status_code

        async def maybe(model: str) -> int:
            patience = chance.choice([0.01, 0.05, 0.2, 1.5]) if leave else TIMEOUT_S
            try:
                async with asyncio.timeout(patience):
                    return await one(model)
            except TimeoutError:
                return 0

        return await asyncio.gather(*map(maybe, models))


def _records(data: Path, project: str, count: int) -> list[sqlite3.Row]:
    """The records of a project, once so many are there; more would be there at once."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        with closing(sqlite3.connect(data / "gateway.db")) as db:
            db.row_factory = sqlite3.Row
            rows = db.execute("SELECT * FROM records WHERE project_id = ? ORDER BY at, id", (project,)).fetchall()
        if len(rows) >= count or time.monotonic() > deadline:
            assert len(rows) == count
            return rows
        time.sleep(0.05)


def _seen(upstream: Upstream, models: Sequence[str]) -> int:
    return sum(len(upstream.seen(model)) for model in models)


def test_calls_at_once_spend_what_they_may_to_the_cent_and_no_more(
    live: LiveGateway, admin: Administrator, upstream: Upstream, data: Path
) -> None:
    project, key = _team(admin, cents=40)
    models = [f"cap#{number}" for number in range(120)]
    statuses = asyncio.run(_ask_all(live, key, models))
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == 40
    assert _seen(upstream, models) == 40, "a refused call has reached the upstream"
    records = _records(data, project, 40)
    assert sum(row["cost"] for row in records) == 40 * CENT
    assert {row["basis"] for row in records} == {"reported"}


def test_a_refusal_for_money_says_all_its_numbers_and_what_is_left_can_be_spent(
    live: LiveGateway, admin: Administrator
) -> None:
    project, key = _team(admin, cents=3)
    first = _ask(live, key)
    assert first.status_code == 200
    assert Decimal(first.headers["x-gateway-cost"]) == Decimal("0.01")
    refused = _ask(live, key, max_tokens=9)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["type"]) == (429, "insufficient_quota", "insufficient_quota")
    message = error["message"]
    assert project in message
    for number in ("limit of $0.03 per month", "Spent $0.01", "reserved $0.00", "up to $0.0225"):
        assert number in message, message
    assert re.search(r"resets at \d{4}-\d\d-01T00:00:00Z", message)
    assert refused.headers["x-should-retry"] == "false"
    assert [_ask(live, key).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("path", [_PATH, "/lab/v1/completions"])
@pytest.mark.parametrize(
    ("model", "include", "asked", "cost"),
    [
        ("m", True, "true", "0.01"),
        ("m", True, None, None),
        ("m", True, "false", None),
        ("m", False, "true", None),
        ("free", True, "true", "0.0"),
        ("dust", True, "TRUE", "4.00021e-07"),
    ],
)
def test_the_last_chunk_of_a_stream_says_what_it_cost_if_asked(  # noqa: PLR0917 - the table's columns
    live: LiveGateway, admin: Administrator, path: str, model: str, include: bool, asked: str | None, cost: str | None
) -> None:
    headers = {"authorization": f"Bearer {_team(admin)[1]}", **({"x-gateway-include-cost": asked} if asked else {})}
    chat = path == _PATH
    body = body_of(CHAT if chat else "completions", model, stream=True, max_tokens=4)
    body["stream_options"] = {"include_usage": include}
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        events = frames_of(client.post(path, headers=headers, json=body).text)
    chunks = [
        json.loads(event.removeprefix("data: "), parse_float=Decimal) for event in events if event.startswith("data: {")
    ]
    costs = [chunk["usage"]["cost"] for chunk in chunks if (chunk.get("usage") or {}).get("cost") is not None]
    assert costs == ([Decimal(cost)] if cost is not None else [])
    if cost is not None:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["completion_tokens"] == 4


def test_clients_that_leave_at_any_time_spend_no_more_than_the_cap_and_leave_one_record_each(
    live: LiveGateway, admin: Administrator, upstream: Upstream, data: Path
) -> None:
    project, key = _team(admin, cents=30)
    kinds = ("paced", "m", "hang-before-headers", "stalled-stream")
    models = [f"{kinds[number % 4]}#left-{number}" for number in range(100)]
    asyncio.run(_ask_all(live, key, models, leave=True))
    deadline = time.monotonic() + TIMEOUT_S
    while (count := _seen(upstream, models)) != _ended(data, project) and time.monotonic() < deadline:
        time.sleep(0.1)
    records = _records(data, project, count)
    assert sum(row["cost"] for row in records) <= 30 * CENT
    assert {row["ending"] for row in records} <= {"whole", "left"}
    assert any(row["ending"] == "left" for row in records)
    deadline = time.monotonic() + TIMEOUT_S
    while not _no_room_is_held(live, key):
        assert time.monotonic() < deadline, "what was held for calls that are over is held still"
        time.sleep(0.05)


def _ended(data: Path, project: str) -> int:
    with closing(sqlite3.connect(data / "gateway.db")) as db:
        count: int = db.execute("SELECT count(*) FROM records WHERE project_id = ?", (project,)).fetchone()[0]
    return count


def _no_room_is_held(live: LiveGateway, key: str) -> bool:
    """Ask for more than there can be: the refusal says what is held."""
    message = _ask(live, key, max_tokens=1000).json()["error"]["message"]
    return "reserved $0.00" in message


@pytest.mark.parametrize(
    ("model", "stream", "end", "basis"),
    [
        ("m", False, "whole", "reported"),
        ("m", True, "whole", "reported"),
        ("no-usage-option", True, "whole", None),
        ("status-500", False, "failed", "reported"),
        ("status-400", True, "failed", "reported"),
        ("stream-cut", True, "broken", "estimated"),
        ("broken-json", False, "failed", "estimated"),
        ("close-at-once", False, "failed", "reported"),
    ],
)
def test_every_started_call_ends_in_one_record(  # noqa: PLR0917 - the table's columns
    live: LiveGateway, admin: Administrator, data: Path, model: str, stream: bool, end: str, basis: str | None
) -> None:
    project, key = _team(admin)
    response = _ask(live, key, f"{model}#record", stream=stream)
    (row,) = _records(data, project, 1)
    assert row["ending"] == end
    assert basis is None or row["basis"] == basis
    assert row["request_id"] == response.headers["x-request-id"]
    assert row["status"] == response.status_code
    if basis == "reported" and end == "whole":
        assert (row["input"], row["output"], row["cost"]) == (7, 4, CENT)
    if end == "failed" and basis == "reported":
        assert row["cost"] == 0, "who refuses wants no money"


def test_so_many_requests_pass_a_limit_as_it_says_and_every_reply_tells_what_is_left(
    live: LiveGateway, admin: Administrator, upstream: Upstream
) -> None:
    project, key = _team(admin)
    admin.post(f"projects/{project}/rate_limits/rl-*", {"max_requests_per_1_minute": 25})
    models = [f"rpm#{number}" for number in range(80)]
    statuses = asyncio.run(_ask_all(live, key, models))
    assert (statuses.count(200), statuses.count(429)) == (25, 55)
    assert _seen(upstream, models) == 25
    refused = _ask(live, key)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["x-ratelimit-limit-requests"] == "25"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert re.fullmatch(r"\d+s|\d+m\d+s", refused.headers["x-ratelimit-reset-requests"])
    assert 1 <= int(refused.headers["retry-after"]) <= 61


def _limit(admin: Administrator, project: str, entity: str, limit: dict[str, Any]) -> None:
    """Set a limit of a project, or of its only key."""
    if entity == "key":
        (key,) = admin.get(f"projects/{project}/api_keys")["data"]
        kind = "spend_limit" if "threshold_amount" in limit else "rate_limits"
        admin.post(f"projects/{project}/api_keys/{key['id']}", {kind: limit})
    elif "threshold_amount" in limit:
        admin.post(f"projects/{project}/spend_limit", limit)
    else:
        admin.post(f"projects/{project}/rate_limits/rl-*", limit)


@asynccontextmanager
async def _in_flight(live: LiveGateway, upstream: Upstream, key: str, models: Sequence[str]) -> AsyncIterator[None]:
    """Streams that have begun, and end when this does, since their clients leave."""
    async with httpx2.AsyncClient(
        base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES
    ) as client, AsyncExitStack() as stack:  # fmt: skip
        for model in models:
            body = body_of(CHAT, model, max_tokens=4, stream=True)
            headers = {"authorization": f"Bearer {key}"}
            reply = await stack.enter_async_context(client.stream("POST", _PATH, headers=headers, json=body))
            assert reply.status_code == 200
        assert [len(upstream.seen(model)) for model in models] == [1] * len(models)
        yield


@pytest.mark.parametrize("entity", ["project", "key"])
def test_a_spend_limit_counts_what_was_spent_before_it_was_set_and_what_is_in_flight(
    live: LiveGateway, admin: Administrator, upstream: Upstream, data: Path, entity: str
) -> None:
    project, key = _team(admin)
    assert [_ask(live, key).status_code for _ in range(2)] == [200, 200]

    async def beside() -> None:
        async with _in_flight(live, upstream, key, [f"stalled-stream#{entity}-{at}" for at in range(2)]):
            limit = {"threshold_amount": 5, "currency": "USD", "interval": "month"}
            await asyncio.to_thread(_limit, admin, project, entity, limit)
            deadline = time.monotonic() + TIMEOUT_S
            while "reserved $0.02" not in (said := await asyncio.to_thread(_refusal, live, key)):
                assert time.monotonic() < deadline, said
                await asyncio.sleep(0.05)
            assert "Spent $0.02" in said
            assert (await asyncio.to_thread(_ask, live, key)).status_code == 200
            assert (await asyncio.to_thread(_ask, live, key)).status_code == 429

    asyncio.run(beside())
    deadline = time.monotonic() + TIMEOUT_S
    while not _no_room_is_held(live, key):
        assert time.monotonic() < deadline, "what was held for calls that are over is held still"
        time.sleep(0.05)
    spent = sum(row["cost"] for row in _records(data, project, 5))
    assert f"Spent {usd(spent)}" in _refusal(live, key)


def _refusal(live: LiveGateway, key: str) -> str:
    """What is said of a call that cannot be paid for."""
    return str(_ask(live, key, max_tokens=1000).json()["error"]["message"])


@pytest.mark.parametrize("entity", ["project", "key"])
@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ({"max_parallel_requests": 2}, "parallel requests: Limit 2, Used 2"),
        ({"max_requests_per_1_minute": 2}, "requests per min: Limit 2, Used 2"),
        ({"max_requests_per_1_day": 2}, "requests per day: Limit 2, Used 2"),
    ],
)
def test_a_rate_limit_counts_what_was_in_flight_when_it_was_set(  # noqa: PLR0917 - the table's columns
    live: LiveGateway, admin: Administrator, upstream: Upstream, entity: str, limit: dict[str, int], says: str
) -> None:
    project, key = _team(admin)
    (name,) = limit

    async def beside() -> None:
        models = [f"stalled-stream#{entity}-{name}-{at}" for at in range(2)]
        async with _in_flight(live, upstream, key, models):
            await asyncio.to_thread(_limit, admin, project, entity, limit)
            refused = await asyncio.to_thread(_ask, live, key)
            assert refused.status_code == 429
            assert says in refused.json()["error"]["message"]

    asyncio.run(beside())
    if name == "max_parallel_requests":
        deadline = time.monotonic() + TIMEOUT_S
        while _ask(live, key).status_code != 200:
            assert time.monotonic() < deadline, "calls that are over count still"
            time.sleep(0.05)


def test_tokens_are_held_by_estimate_and_settled_by_what_they_were(live: LiveGateway, admin: Administrator) -> None:
    project, key = _team(admin)
    admin.post(f"projects/{project}/rate_limits/rl-*", {"max_tokens_per_1_minute": 1000})
    left = [int(_ask(live, key, max_tokens=400).headers["x-ratelimit-remaining-tokens"]) for _ in range(2)]
    # Each call holds some 420 tokens while it runs and takes 11: the second finds nearly all there.
    assert 500 < left[0] < 600
    assert left[0] - left[1] == 11
    too_large = _ask(live, key, max_tokens=2000)
    assert too_large.status_code == 429
    assert too_large.json()["error"]["message"].startswith("Request too large")
    assert too_large.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("name", ["max_requests_per_1_minute", "max_requests_per_1_day", "max_parallel_requests"])
def test_a_limit_of_nought_is_told_as_one_that_no_waiting_helps(
    live: LiveGateway, admin: Administrator, name: str
) -> None:
    key = admin.account(_team(admin)[0], rate_limits={name: 0})["api_key"]["value"]
    refused = _ask(live, key)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
    assert "retry-after" not in refused.headers
    message = refused.json()["error"]["message"]
    assert message.startswith("No requests are allowed in key")
    assert "tokens" not in message


def test_upstream_limits_are_told_apart_from_the_callers(live: LiveGateway, admin: Administrator) -> None:
    project, key = _team(admin)
    free = _ask(live, key, "status-429")
    admin.post(f"projects/{project}/rate_limits/rl-*", {"max_requests_per_1_minute": 100})
    held = _ask(live, key, "status-429")
    for refused in (free, held):
        assert refused.status_code == 429
        assert refused.headers["x-gateway-upstream-ratelimit-limit-requests"] == "60"
    assert free.headers["x-ratelimit-limit-requests"] == "60"
    assert held.headers["x-ratelimit-limit-requests"] == "100"
    assert held.headers["x-ratelimit-remaining-requests"] == "99"


def test_models_are_allowed_by_any_of_their_names(live: LiveGateway, admin: Administrator, upstream: Upstream) -> None:
    project, key = _team(admin)
    path = f"projects/{project}/model_permissions"
    admin.post(path, {"mode": "allow_list", "model_ids": ["good-model", "lab/other"]})
    statuses = {model: _ask(live, key, model).status_code for model in ("good-model", "other", "third")}
    assert statuses == {"good-model": 200, "other": 200, "third": 403}
    refused = _ask(live, key, "third").json()["error"]
    assert (refused["code"], refused["param"]) == ("model_not_allowed", "model")
    # Whoever may answer has to be allowed, and not only the first of a route.
    assert _ask_model(live, key, "either").status_code == 403
    admin.post(path, {"mode": "allow_list", "model_ids": ["good-model", "other", "first", "second"]})
    assert _ask_model(live, key, "either").status_code == 200
    admin.post(path, {"mode": "deny_list", "model_ids": ["good-model", "second"]})
    assert _ask_model(live, key, "either").status_code == 403
    assert _ask(live, key, "good-model").status_code == 403
    assert _ask(live, key, "third").status_code == 200
    assert len(upstream.seen("third")) == 1


def test_a_model_without_a_price_is_refused_where_money_is_limited(live: LiveGateway, admin: Administrator) -> None:
    project, key = _team(admin, cents=100)
    body = body_of(CHAT, "nobody-knows-its-price")
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        refused = client.post("/openai/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_priced")
        admin.delete(f"projects/{project}/spend_limit")
        allowed = client.post("/openai/v1/chat/completions", headers={"authorization": f"Bearer {key}"}, json=body)
    assert allowed.status_code == 200
    assert "x-gateway-cost" not in allowed.headers, "what is not known is not nothing"


def _spent_by_metrics(live: LiveGateway, key: str, key_id: str) -> str | None:
    """What is told of a key's budget for a month."""
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        text = client.get("/metrics", headers={"authorization": f"Bearer {key}"}).text
    found = [line for line in text.splitlines() if line.startswith("ai_gateway_spend_usd{") and key_id in line]
    return found[0].rpartition(" ")[2] if found else None


@pytest.mark.parametrize("by", ["cli", "api"])
def test_a_key_that_replaces_another_goes_on_with_its_budget(
    live: LiveGateway, admin: Administrator, data: Path, by: str
) -> None:
    project = admin.project(f"rotating-{by}")
    limit = {"threshold_amount": 5, "currency": "USD", "interval": "month"}
    account = admin.account(project, spend_limit=limit)
    keys, ids = [account["api_key"]["value"]], [account["api_key"]["id"]]
    for _ in range(2):
        assert _ask(live, keys[-1]).status_code == 200
        if by == "cli":
            rotated = run_cli("keys", "rotate", ids[-1], "--json", "--project", project, GATEWAY_DATA_DIR=str(data))
            made = json.loads(rotated.stdout)
        else:
            path = f"projects/{project}/service_accounts/{account['id']}/api_keys"
            made = admin.post(path, {"replaces": ids[-1], "spend_limit": limit})
        keys.append(made["value"])
        ids.append(made["id"])
    assert [_ask(live, key).status_code for key in (keys[2], keys[0], keys[1], keys[2])] == [200, 200, 200, 429]
    assert all("Spent $0.05" in _ask(live, key).json()["error"]["message"] for key in keys)
    admin.delete(f"projects/{project}/api_keys/{ids[0]}")
    admin.post(f"projects/{project}/api_keys/{ids[2]}", {"spend_limit": {**limit, "threshold_amount": 6}})
    assert [_ask(live, keys[2]).status_code for _ in range(2)] == [200, 429]
    assert "Spent $0.06" in _ask(live, keys[1]).json()["error"]["message"]
    _records(data, project, 6)
    assert _spent_by_metrics(live, keys[2], ids[2]) == "0.06"
    # Another interval is another counter, which begins with what the ledger has: of all of them, deleted ones too.
    admin.post(f"projects/{project}/api_keys/{ids[2]}", {"spend_limit": {**limit, "interval": "total"}})
    assert "Spent $0.06" in _ask(live, keys[2]).json()["error"]["message"]
    fresh = admin.post(f"projects/{project}/service_accounts/{account['id']}/api_keys", {"spend_limit": limit})
    assert _ask(live, fresh["value"]).status_code == 200, "a key that replaces none begins with nothing spent"


def test_searches_of_an_upstream_are_paid_held_and_told(live: LiveGateway, admin: Administrator, data: Path) -> None:
    project, key = _team(admin)
    # Whole replies of one form are read by what was learned of the first.
    costs = [_ask(live, key, "looks-up", max_tokens=count).headers["x-gateway-cost"] for count in (1, 2, 7, 3, 12, 1)]
    assert costs == ["0.01", "0.02", "0.07", "0.03", "0.12", "0.01"]
    include = {"stream": True, "stream_options": {"include_usage": True}}
    assert [_ask(live, key, "looks-up", max_tokens=count, **include).status_code for count in (2, 5)] == [200, 200]
    rows = _records(data, project, 8)
    assert [row["searches"] for row in rows] == [1, 2, 7, 3, 12, 1, 2, 5]
    assert all(row["cost"] == row["search_cost"] == row["searches"] * CENT for row in rows)
    usage = admin.get("usage/web_search_calls", start_time=int(time.time()) - 3600, project_ids=[project])
    results = [each for bucket in usage["data"] for each in bucket["results"]]
    assert sum(each["num_requests"] for each in results) == 33
    assert sum(each["num_model_requests"] for each in results) == 8
    costs_of = admin.get("costs", start_time=int(time.time()) - 3600, project_ids=[project], group_by=["line_item"])
    amounts = {line["line_item"]: line["amount"]["value"] for bucket in costs_of["data"] for line in bucket["results"]}
    assert amounts == {"lab/looks-up": 0.0, "lab/looks-up, web searches": 0.33}
    # Who asks for searches has to be able to pay for as many as there may be: 20 of a cent each.
    limit = {"threshold_amount": 33 + 19, "currency": "USD", "interval": "month"}
    admin.post(f"projects/{project}/spend_limit", limit)
    ways: tuple[dict[str, Any], ...] = ({"web_search_options": {}}, {"plugins": [{"id": "web"}]})
    for asks in ways:
        refused = _ask(live, key, "looks-up", max_tokens=1, **asks)
        assert refused.status_code == 429
        assert "Spent $0.33" in refused.json()["error"]["message"]
        assert "can cost up to $0.20" in refused.json()["error"]["message"]
    assert _ask(live, key, "looks-up", max_tokens=1).status_code == 200


_UNLIMITED: list[tuple[str, dict[str, Any]]] = [
    (path, {"stream": stream, **fields})
    for path in ("/lab/v1/chat/completions", "/v1/chat/completions")
    for stream in (False, True)
    for fields in (
        {"max_tokens": -1},
        {"max_completion_tokens": -(10**7)},
        {"max_tokens": 1, "max_completion_tokens": -1},
        {"max_completion_tokens": 1, "max_tokens": 10**9},
        {"max_tokens": 1, "max_new_tokens": 10**9},
        {"max_tokens": 10**30},
        {},
    )
]
_UNLIMITED += [("/lab/v1/completions", {"prompt": "x", "stream": stream}) for stream in (False, True)]
_UNLIMITED += [
    ("/api/chat", {"stream": stream, "options": {"num_predict": most}}) for stream in (False, True) for most in (-1, -2)
]


def test_no_request_holds_less_than_an_upstream_may_make_of_it(
    live: LiveGateway, admin: Administrator, upstream: Upstream
) -> None:
    """At every door, whole and streamed: a budget of a cent, of which each of these could cost more."""
    _, key = _team(admin, cents=1)
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        for number, (path, fields) in enumerate(_UNLIMITED):
            name = f"unlimited-{number}" if path.startswith("/lab/") else f"lab/unlimited-{number}"
            body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], **fields}
            if "prompt" in fields:
                del body["messages"]
            reply = client.post(path, headers={"authorization": f"Bearer {key}"}, json=body)
            assert reply.status_code == 429, (path, fields, reply.text)
            assert not upstream.seen(f"unlimited-{number}")
    assert _ask(live, key, "limited").status_code == 200, "none of them has held anything"


def test_a_call_that_is_said_to_put_out_less_than_nothing_makes_no_room_for_others(
    live: LiveGateway, admin: Administrator
) -> None:
    project, key = _team(admin)
    admin.post(f"projects/{project}/rate_limits/rl-*", {"max_tokens_per_1_minute": 1_000})
    for number, fields in enumerate(({"max_tokens": -(10**7)}, {"max_tokens": 1, "max_new_tokens": -(10**7)})):
        answered = _ask(live, key, f"below-{number}", **fields)
        assert answered.status_code == 200
        assert 0 <= int(answered.headers["x-ratelimit-remaining-tokens"]) < 1_000


def test_a_file_holds_what_a_model_can_read(live: LiveGateway, admin: Administrator) -> None:
    file = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-abc"}}]}]
    unlisted = [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://a.example/b"}}]}]
    for messages in (file, unlisted):
        _, poor = _team(admin, cents=100)
        _, rich = _team(admin, cents=110)
        refused = _ask(live, poor, "reads", messages=messages)
        assert (refused.status_code, "can cost up to $1.0485" in refused.text) == (429, True), refused.text
        assert _ask(live, rich, "reads", messages=messages).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_response_goes_on_with_is_held_as_well(live: LiveGateway, admin: Administrator, stream: bool) -> None:
    """Its bytes are not in the request, and the upstream gets them: earlier responses, which are kept here."""
    project, key = _team(admin)
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        first = {"model": "lab/reads", "input": "x" * 300_000, "max_output_tokens": 16}
        reply = client.post("/v1/responses", headers=headers, json=first)
        assert reply.status_code == 200, reply.text
        _limit(admin, project, "project", {"threshold_amount": 20, "currency": "USD", "interval": "month"})
        short = {**first, "input": "Go on", "stream": stream}
        fits = client.post("/v1/responses", headers=headers, json=short)
        assert fits.status_code == 200, fits.text
        further = {**short, "previous_response_id": reply.json()["id"]}
        refused = client.post("/v1/responses", headers=headers, json=further)
        assert (refused.status_code, "can cost up to $0.3" in refused.text) == (429, True), refused.text


def test_what_has_no_known_cost_takes_all_that_was_held_for_it(
    live: LiveGateway, admin: Administrator, data: Path
) -> None:
    """The upstream searches, and nobody knows what it wants for that."""
    project, key = _team(admin, cents=5)
    assert [_ask(live, key, f"looks-up#{at}", max_tokens=2).status_code for at in range(12)] == [200] * 10 + [429] * 2
    assert [row["cost"] for row in _records(data, project, 10)] == [None] * 10


@pytest.mark.parametrize(
    ("asked", "held"), [({}, "$0.02"), ({"service_tier": "auto"}, "$0.02"), ({"service_tier": "default"}, "$0.01")]
)
def test_the_most_expensive_tier_that_may_serve_is_held_and_the_one_that_did_is_paid(
    live: LiveGateway, admin: Administrator, data: Path, asked: dict[str, str], held: str
) -> None:
    project, key = _team(admin, cents=3)
    assert _ask(live, key, "tiered", **asked).headers["x-gateway-cost"] == "0.005"
    assert _ask(live, key, "tiered", stream=True, **asked).status_code == 200
    rows = _records(data, project, 2)
    assert [(row["cost"], row["service_tier"]) for row in rows] == [(CENT // 2, "flex")] * 2
    assert [_ask(live, key, "tiered", **asked).status_code for _ in range(4)].count(200) == (
        1 if held == "$0.02" else 3
    )
    message = _ask(live, key, "tiered", max_tokens=4, **asked).json()["error"]["message"]
    assert f"can cost up to {held}" in message


def test_a_stream_that_tells_no_usage_is_estimated_at_the_price_of_the_tier_that_served_it(
    live: LiveGateway, admin: Administrator, data: Path
) -> None:
    project, key = _team(admin)
    assert _ask(live, key, "tiered#uncounted", stream=True).status_code == 200
    (row,) = _records(data, project, 1)
    assert (row["basis"], row["service_tier"]) == ("estimated", "flex")


def test_a_key_replaces_none_of_another_account(admin: Administrator) -> None:
    project = admin.project()
    one, other = admin.account(project), admin.account(project)
    path = f"projects/{project}/service_accounts/{one['id']}/api_keys"
    for replaced in (other["api_key"]["id"], "key_of_nobody"):
        assert admin.refused(400, "POST", path, {"replaces": replaced})["param"] == "replaces"


@pytest.mark.parametrize("limited", ["before", "meanwhile"])
def test_calls_of_a_gateway_that_is_killed_are_charged_by_their_bound_once_another_one_runs(
    shared_upstream: Upstream, tmp_path: Path, limited: str
) -> None:
    (tmp_path / "gateway.toml").write_text(PRICES)
    env = {
        **in_front_of(shared_upstream),
        "ADMIN_API_KEY": ADMIN_KEY,
        "GATEWAY_DATA_DIR": str(tmp_path),
        "GATEWAY_CONFIG": str(tmp_path / "gateway.toml"),
    }
    with running_gateway(**env) as first:
        admin = Administrator(first)
        project, key = _team(admin, cents=10 if limited == "before" else None)
        assert _ask(first, key).status_code == 200

        models = [f"hang-before-headers#killed-{limited}-{at}" for at in range(3)]
        limit = {"threshold_amount": 10, "currency": "USD", "interval": "month"}

        async def hang() -> None:
            calls = asyncio.create_task(_ask_all(first, key, models))
            await asyncio.gather(*(asyncio.to_thread(shared_upstream.last, model) for model in models))
            if limited == "meanwhile":
                await asyncio.to_thread(_limit, admin, project, "project", limit)
                while "reserved $0.03" not in await asyncio.to_thread(_refusal, first, key):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            first.process.send_signal(signal.SIGKILL)
            await asyncio.gather(calls, return_exceptions=True)

        asyncio.run(hang())
        first.process.wait()
    with running_gateway(**env) as second:
        records = _records(tmp_path, project, 4)
        assert sorted(row["ending"] for row in records) == ["lost", "lost", "lost", "whole"]
        assert {row["basis"] for row in records if row["ending"] == "lost"} == {"incomplete"}
        assert sum(row["cost"] for row in records) == 4 * CENT
        deadline = time.monotonic() + TIMEOUT_S
        while "reserved $0.00" not in (said := _ask(second, key, max_tokens=1000).json()["error"]["message"]):
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        assert "Spent $0.04" in said
        assert [_ask(second, key).status_code for _ in range(7)] == [200] * 6 + [429]
