"""Usage, costs and single requests, over HTTP, from a ledger whose content is known."""

import asyncio
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, override

import httpx2
import orjson
import pytest

from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.ledger_rows import DAY, HOUR
from ai_gateway.accounts.records import AttemptRecord, Record
from ai_gateway.accounts.store.base import Row, Value
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.accounts.usage import UsageQuery, latencies
from ai_gateway.contract.tokens import Tokens
from tests.accounts.calls import ended, started
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import NO_CERTIFICATES, TIMEOUT_S, eventually
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway

MIDNIGHT = 1_790_000_000 // DAY * DAY
LATER = MIDNIGHT + DAY
FORMULA = "=HYPERLINK(A1)"
CASES: dict[str, Callable[[Record], object]] = {
    "project_id": lambda record: record.start.project_id,
    "api_key_id": lambda record: record.start.key_id,
    "model": lambda record: record.upstream_model,
    "provider": lambda record: record.provider,
    "service_tier": lambda record: record.service_tier,
}


def known_records() -> list[Record]:
    """Ten days of calls, of every kind, at odd times."""
    found = []
    for number in range(400):
        second = MIDNIGHT + number * 2_161
        start = started(
            f"{second:08x}{number:03}",
            request_id=f"req-{number:03}",
            at=second * 1000 + number * 3 % 1000,
            project_id=("default", "proj_a", "proj_b")[number % 3],
            key_id=(None, "key_1", "key_2", "key_3")[number % 4],
            operation=("createChatCompletion", "createCompletion", "createEmbedding")[number % 5 % 3],
            model=("fast", "slow", FORMULA)[number % 11 % 3],
        )
        tokens = Tokens(
            input=number, output=number % 13, cache_read=number % 5, reasoning=number % 3, input_audio=number % 2,
            searches=2 if number % 19 == 0 else 0,
        )  # fmt: skip
        cost = None if number % 17 == 0 else 10**12 * number + 7 * number + 1
        found.append(
            ended(
                start,
                provider=("openai", "groq")[number % 2],
                upstream_model=("gpt-fast", "llama-slow")[number % 11 % 2],
                tokens=tokens,
                cost=cost,
                search_cost=number + 1 if tokens.searches and cost is not None else 0,
                ended_at=start.at + 300 + number * 7,
                first_byte_ms=40 + number if number % 7 else None,
                end=("whole", "whole", "left", "broken", "failed", "lost")[number % 6],
                status=(200, 200, None, 200, 502, None)[number % 6],
                service_tier=(None, "flex")[number % 2],
                dropped=("logit_bias",) if number % 9 == 0 else (),
            )
        )
    return found


RECORDS = known_records()
QUANTILES = ("total_ms_p50", "total_ms_p95", "first_byte_ms_p50", "first_byte_ms_p95")
KEY_2_IN_B = {each.start.id for each in RECORDS if (each.start.key_id, each.start.project_id) == ("key_2", "proj_b")}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    data = tmp_path_factory.mktemp("data")
    asyncio.run(fill(data / "gateway.db"))
    env = {"ADMIN_API_KEY": ADMIN_KEY, "ALLOWED_API_KEYS": TEST_KEY, "GATEWAY_DATA_DIR": str(data)}
    env["RECORDS_KEEP_DAYS"] = "36500"  # they are of a fixed time
    with running_gateway(**env) as gateway:
        yield gateway


async def fill(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await Ledger(store).append(RECORDS)
    await store.aclose()


@pytest.fixture(scope="module")
def admin(live: LiveGateway) -> Administrator:
    return Administrator(live)


def asked(
    live: LiveGateway, path: str, accept: str = "application/json", key: str = ADMIN_KEY, **query: Any
) -> httpx2.Response:
    """A request for an operation of the gateway's own."""
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        headers = {"authorization": f"Bearer {key}", "accept": accept}
        return client.get(f"{live.base_url}/v1/gateway/{path}", headers=headers, params=query or None)


def exact(reply: httpx2.Response) -> Any:
    """JSON whose numbers are what stands there."""
    assert reply.status_code == 200, reply.text
    return json.loads(reply.text, parse_float=Decimal)


def usd(cost: int) -> Decimal:
    return Decimal(cost) / 10**12


def summed(records: Iterable[Record], width: int, by: Iterable[str]) -> dict[tuple[object, ...], Counter[str]]:
    """What has to stand in each bucket, by bucket and group."""
    found: dict[tuple[object, ...], Counter[str]] = {}
    for record in records:
        of = (record.start.at // 1000 // width * width, *(CASES[name](record) for name in by))
        total = found.setdefault(of, Counter())
        total["num_model_requests"] += 1
        total["input_tokens"] += record.tokens.whole_input
        total["output_tokens"] += record.tokens.whole_output
        total["input_cached_tokens"] += record.tokens.cache_read
        total["cost"] += record.cost or 0
        total["num_unpriced_requests"] += record.cost is None
    return found


def read(pages: list[Any], by: Iterable[str]) -> dict[tuple[object, ...], Any]:
    found: dict[tuple[object, ...], Any] = {}
    for page in pages:
        for bucket in page["data"]:
            for result in bucket["results"]:
                of = (bucket["start_time"], *(result[name] for name in by))
                assert of not in found
                found[of] = result
    return found


def every_page(admin: Administrator, path: str, **query: Any) -> list[Any]:
    pages = [admin.get(path, **query)]
    while pages[-1]["has_more"]:
        pages.append(admin.get(path, **query, page=pages[-1]["next_page"]))
    return pages


@pytest.mark.parametrize("width", ["1m", "1h", "1d"])
@pytest.mark.parametrize("by", [[], ["project_id"], ["api_key_id", "model"], ["provider", "service_tier"]])
def test_usage_is_that_of_the_records(admin: Administrator, width: str, by: list[str]) -> None:
    seconds = {"1m": 60, "1h": HOUR, "1d": DAY}[width]
    start, end = MIDNIGHT + 1_000, MIDNIGHT + {"1m": DAY, "1h": 3 * DAY, "1d": 12 * DAY}[width]
    first, last = start // seconds * seconds, -(-end // seconds) * seconds
    pages = every_page(
        admin,
        "usage/completions",
        start_time=start,
        end_time=end,
        bucket_width=width,
        **({"group_by": by} if by else {}),
    )
    chats = [
        each
        for each in RECORDS
        if each.start.operation != "createEmbedding" and first * 1000 <= each.start.at < last * 1000
    ]
    expected = summed(chats, seconds, by)
    found = read(pages, by)
    assert found.keys() == expected.keys()
    for of, total in expected.items():
        for name in ("num_model_requests", "input_tokens", "output_tokens", "input_cached_tokens"):
            assert found[of][name] == total[name]
    starts = [bucket["start_time"] for page in pages for bucket in page["data"]]
    assert starts == list(range(first, last, seconds))  # empty ones too
    assert all(bucket["end_time"] - bucket["start_time"] == seconds for page in pages for bucket in page["data"])


def test_filters_leave_only_what_fits(admin: Administrator) -> None:
    query = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 12 * DAY, "limit": 31}
    for wanted, fits in (
        ({"project_ids": ["proj_a", "proj_b"]}, lambda each: each.start.project_id != "default"),
        ({"api_key_ids": ["key_1"]}, lambda each: each.start.key_id == "key_1"),
        ({"models": ["gpt-fast"]}, lambda each: each.upstream_model == "gpt-fast"),
        ({"models": ["slow"]}, lambda each: each.start.model == "slow"),
        ({"project_ids": ["nobody"]}, lambda _: False),
        ({"user_ids": ["nobody"]}, lambda _: False),
        ({"batch": "true"}, lambda _: False),
        ({"batch": "false"}, lambda _: True),
        ({"models": ["gpt-fast' OR '1'='1", "%"]}, lambda _: False),
    ):
        chats = [each for each in RECORDS if each.start.operation != "createEmbedding" and fits(each)]
        found = read(every_page(admin, "usage/completions", **query, **wanted), [])
        assert sum(each["num_model_requests"] for each in found.values()) == len(chats), wanted


def test_each_kind_of_operation_has_its_own_usage(admin: Administrator) -> None:
    query = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 12 * DAY, "limit": 31}
    embeddings = [each for each in RECORDS if each.start.operation == "createEmbedding"]
    found = read([admin.get("usage/embeddings", **query)], [])
    assert sum(each["input_tokens"] for each in found.values()) == sum(each.tokens.whole_input for each in embeddings)
    for kind in (
        "moderations",
        "images",
        "audio_speeches",
        "audio_transcriptions",
        "code_interpreter_sessions",
    ):
        page = admin.get(f"usage/{kind}", **query)
        assert len(page["data"]) == 12
        assert [bucket["results"] for bucket in page["data"]] == [[]] * 12


@pytest.mark.parametrize("by", [[], ["project_id"], ["api_key_id", "model"]])
def test_searches_of_upstreams_have_their_own_usage(admin: Administrator, by: list[str]) -> None:
    query: dict[str, Any] = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 12 * DAY, "limit": 31}
    pages = every_page(admin, "usage/web_search_calls", **query, **({"group_by": by} if by else {}))
    searching = [each for each in RECORDS if each.tokens.searches and each.start.operation != "createEmbedding"]
    expected = summed(searching, DAY, by)
    found = read(pages, by)
    assert found.keys() == expected.keys()
    for of, total in expected.items():
        assert found[of]["num_model_requests"] == total["num_model_requests"]
        assert found[of]["num_requests"] == 2 * total["num_model_requests"]
    levels = admin.get("usage/web_search_calls", **query, context_levels=["low"])
    assert [bucket["results"] for bucket in levels["data"]] == [[]] * 12


def test_searches_are_a_line_item_of_their_own(admin: Administrator) -> None:
    query: dict[str, Any] = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 12 * DAY, "limit": 180}
    found = read([exact(admin.send("GET", "costs", **query, group_by=["line_item"]))], ["line_item"])
    lines: dict[tuple[object, ...], int] = {}
    for record in RECORDS:
        day, item = record.start.at // 1000 // DAY * DAY, f"{record.provider}/{record.upstream_model}"
        lines[day, item] = lines.get((day, item), 0) + (record.cost or 0) - record.search_cost
        if record.search_cost:
            of = day, f"{item}, web searches"
            lines[of] = lines.get(of, 0) + record.search_cost
    assert {of: Decimal(str(each["amount"]["value"])) for of, each in found.items()} == {
        of: usd(cost) for of, cost in lines.items()
    }
    assert sum(each["num_unpriced_requests"] for each in found.values()) == sum(each.cost is None for each in RECORDS)


@pytest.mark.parametrize("by", [[], ["line_item"], ["project_id"], ["api_key_id", "provider"]])
def test_costs_of_chosen_line_items_are_of_these_alone(admin: Administrator, by: list[str]) -> None:
    record = next(each for each in RECORDS if each.search_cost)
    item = f"{record.provider}/{record.upstream_model}"
    query: dict[str, Any] = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 12 * DAY, "limit": 180}
    grouping = {"group_by": by} if by else {}
    every = read(
        [exact(admin.send("GET", "costs", **query, group_by=[*by, "line_item"]))], dict.fromkeys([*by, "line_item"])
    )
    for items in ([item], [f"{item}, web searches"], [item, f"{item}, web searches", "no/such"], ["no/such"]):
        expected: dict[tuple[object, ...], list[Decimal]] = {}
        for (day, *of), each in every.items():
            if each["line_item"] in items:
                key = (day, *of[: len(by)])
                expected.setdefault(key, []).append(Decimal(str(each["amount"]["value"])))
        found = read([exact(admin.send("GET", "costs", **query, **grouping, line_items=items))], by)
        assert {of: Decimal(str(each["amount"]["value"])) for of, each in found.items()} == {
            of: sum(amounts, Decimal(0)) for of, amounts in expected.items()
        }
        assert bool(found) is (items != ["no/such"])


@pytest.mark.parametrize("by", [[], ["project_id"], ["api_key_id", "provider"]])
def test_costs_are_exact_to_the_last_digit(admin: Administrator, by: list[str]) -> None:
    query: dict[str, Any] = {"start_time": MIDNIGHT, "end_time": MIDNIGHT + 12 * DAY, "limit": 180}
    reply = admin.send("GET", "costs", **query, **({"group_by": by} if by else {}))
    expected = summed(RECORDS, DAY, by)
    found = read([exact(reply)], by)
    assert found.keys() == expected.keys()
    for of, total in expected.items():
        assert Decimal(str(found[of]["amount"]["value"])) == usd(total["cost"])
        assert found[of]["amount"]["currency"] == "usd"
        assert found[of]["num_unpriced_requests"] == total["num_unpriced_requests"]
    assert not re.search(r"[0-9]e[+-]?[0-9]", reply.text)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"limit": 32}, "limit"),
        ({"bucket_width": "1h", "limit": 169}, "limit"),
        ({"end_time": MIDNIGHT - 1}, "end_time"),
        ({"page": "page_nonsense"}, "page"),
        ({"page": "WzFd"}, "page"),
        ({"page": "page_WzFd"}, "page"),
        ({"group_by": ["weather"]}, "group_by"),
        ({"bucket_width": "1w"}, "bucket_width"),
        ({"start_time": "yesterday"}, "start_time"),
    ],
)
def test_a_wrong_question_is_refused_by_name(admin: Administrator, wrong: dict[str, Any], param: str) -> None:
    error = admin.refused(400, "GET", "usage/completions", **{"start_time": MIDNIGHT, **wrong})
    assert str(error["param"]).startswith(param)


@pytest.mark.parametrize("path", ["usage/completions", "usage/embeddings", "costs"])
def test_a_page_of_no_buckets_leads_nowhere(admin: Administrator, path: str) -> None:
    """A client that goes from page to page would never end."""
    page = admin.get(path, start_time=MIDNIGHT, limit=0)
    assert (page["data"], page["has_more"], page["next_page"]) == ([], False, None)


def test_a_page_of_no_requests_leads_nowhere(live: LiveGateway) -> None:
    page = exact(asked(live, "requests", limit=0))
    assert (page["data"], page["has_more"], page["next_page"]) == ([], False, None)


def test_the_official_client_reads_usage_and_costs(live: LiveGateway) -> None:
    from openai import OpenAI

    with OpenAI(base_url=f"{live.base_url}/v1", api_key="unused", admin_api_key=ADMIN_KEY) as client:
        usage = client.admin.organization.usage.completions(
            start_time=MIDNIGHT, end_time=MIDNIGHT + 3 * DAY, group_by=["model"], limit=2
        )
        assert usage.has_more
        assert [len(bucket.results) for bucket in usage.data] == [2, 2]
        more = client.admin.organization.usage.completions(
            start_time=MIDNIGHT, end_time=MIDNIGHT + 3 * DAY, group_by=["model"], limit=2, page=usage.next_page or ""
        )
        assert not more.has_more
        costs = client.admin.organization.usage.costs(start_time=MIDNIGHT, limit=1)
        assert costs.data[0].results[0].object == "organization.costs.result"


# -- single requests --


def test_requests_come_newest_first_and_page_by_page(live: LiveGateway) -> None:
    expected = [each.start.id for each in sorted(RECORDS, key=lambda each: each.start.at, reverse=True)]
    found: list[str] = []
    page: dict[str, Any] = {"next_page": None}
    while True:
        query = {"page": page["next_page"]} if page["next_page"] else {}
        page = exact(asked(live, "requests", limit=150, **query))
        found += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
    assert found == expected
    assert page["next_page"] is None


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ({"project_id": "proj_a"}, lambda each: each.start.project_id == "proj_a"),
        ({"api_key_id": "key_2"}, lambda each: each.start.key_id == "key_2"),
        ({"api_key_id": "key_2", "project_id": "proj_b"}, lambda each: each.start.id in KEY_2_IN_B),
        ({"model": "slow"}, lambda each: each.start.model == "slow"),
        ({"model": "gpt-fast"}, lambda each: each.upstream_model == "gpt-fast"),
        ({"provider": "groq"}, lambda each: each.provider == "groq"),
        ({"status": 502}, lambda each: each.status == 502),
        ({"end": "lost", "provider": "openai"}, lambda each: each.end == "lost" and each.provider == "openai"),
        ({"request_id": "req-042"}, lambda each: each.start.id == RECORDS[42].start.id),
        ({"start_time": LATER, "end_time": LATER + DAY}, lambda each: LATER <= each.start.at / 1000 < LATER + DAY),
        ({"project_id": "proj_a' OR 'a'='a"}, lambda _: False),
        ({"limit": 0}, lambda _: False),
    ],
)  # fmt: skip
def test_requests_are_filtered(live: LiveGateway, query: dict[str, Any], fits: Callable[[Record], bool]) -> None:
    found = [each["id"] for each in exact(asked(live, "requests", **{"limit": 1000, **query}))["data"]]
    assert sorted(found) == sorted(each.start.id for each in RECORDS if fits(each))


def test_one_request_shows_what_became_of_it(live: LiveGateway) -> None:
    record = next(each for each in RECORDS if each.dropped and each.cost is not None)
    found = exact(asked(live, f"requests/{record.start.id}"))
    assert found["request_id"] == record.start.request_id
    assert Decimal(str(found["cost_usd"])) == usd(record.cost or 0)
    assert found["dropped_parameters"] == ["logit_bias"]
    (attempt,) = found["attempts"]
    assert isinstance(record.attempts[0], AttemptRecord)
    assert attempt["tokens"]["cache_read"] == 30
    assert Decimal(str(attempt["cost_usd"])) == usd(1_234)
    for other in ("no-such", "0", record.start.id[:-1], record.start.id + "0", "0" + record.start.id, "f" * 32, "%20"):
        assert asked(live, f"requests/{other}").status_code == 404


def test_a_table_holds_no_formula(live: LiveGateway) -> None:
    for reply in (asked(live, "requests.csv", limit=1000), asked(live, "requests", "text/csv", limit=1000)):
        assert reply.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(reply.text)))
        assert len(rows) == len(RECORDS)
        assert {row["model"] for row in rows} == {"fast", "slow", f"'{FORMULA}"}
        (row,) = (row for row in rows if row["id"] == RECORDS[1].start.id)
        assert Decimal(row["cost_usd"]) == usd(RECORDS[1].cost or 0)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("text/csv;q=0", "application/json"),
        ("TEXT/CSV ; charset=utf-8; q=0.000, */*", "application/json"),
        ("text/csv, application/json", "application/json"),
        ("text/csvx", "application/json"),
        ("*/*;q=0.1, text/csv;q=0.01", "text/csv; charset=utf-8"),
        ("text/csv, application/json;q=0", "text/csv; charset=utf-8"),
    ],
)
def test_a_table_is_what_the_accept_header_asks_for(live: LiveGateway, accept: str, media: str) -> None:
    assert asked(live, "requests", accept, limit=1).headers["content-type"] == media


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("organization/costs", "start_time=0&models=lab/fast"),
        ("organization/usage/completions", "start_time=0&project_id=default"),
        ("organization/projects", "order=desc"),
        ("gateway/requests", "status_code=500"),
        ("gateway/requests.csv", "key=alice"),
        ("gateway/usage", "start_time=0&provider=lab"),
    ],
)
def test_a_filter_that_there_is_not_is_refused_by_its_name(live: LiveGateway, path: str, query: str) -> None:
    reply = asked(live, f"../{path}?{query}")
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == (query.rsplit("&", maxsplit=1)[-1].partition("=")[0], "unknown_parameter")


@pytest.mark.parametrize("width", ["all", "1d"])
def test_sums_with_costs_are_those_of_the_records(live: LiveGateway, width: str) -> None:
    query: dict[str, Any] = {
        "start_time": MIDNIGHT + HOUR,
        "end_time": MIDNIGHT + 5 * DAY + 2 * HOUR,
        "bucket_width": width,
    }
    first = MIDNIGHT + HOUR if width == "all" else MIDNIGHT
    last = query["end_time"] if width == "all" else MIDNIGHT + 6 * DAY
    within = [each for each in RECORDS if first * 1000 <= each.start.at < last * 1000]
    page = exact(asked(live, "usage", **query, group_by=["provider", "operation"]))
    results = [result for bucket in page["data"] for result in bucket["results"]]
    assert sum(each["num_requests"] for each in results) == len(within)
    assert sum(Decimal(str(each["cost_usd"])) for each in results) == usd(sum(each.cost or 0 for each in within))
    assert sum(each["num_errors"] for each in results) == sum(each.end in {"failed", "broken"} for each in within)
    assert sum(each["num_lost"] for each in results) == sum(each.end == "lost" for each in within)
    rows = list(csv.DictReader(io.StringIO(asked(live, "usage.csv", **query, group_by=["provider", "operation"]).text)))
    assert sum(Decimal(row["cost_usd"]) for row in rows) == usd(sum(each.cost or 0 for each in within))
    assert len(rows) == len(results)


@pytest.mark.parametrize("width", ["1m", "1h", "1d", "all"])
@pytest.mark.parametrize("by", [[], ["api_key_id", "model", "provider"]])
def test_half_and_nearly_all_of_the_calls_took_no_longer_than_is_told(
    live: LiveGateway, width: str, by: list[str]
) -> None:
    end = MIDNIGHT + {"1m": 2 * HOUR, "1h": DAY, "1d": 10 * DAY, "all": 10 * DAY}[width]
    query: dict[str, Any] = {"start_time": MIDNIGHT, "end_time": end, "bucket_width": width, "latency": "true"}
    query |= {"group_by": by} if by else {}
    query |= {"limit": {"1m": 120, "1h": 24, "1d": 10, "all": 1}[width]}
    page = exact(asked(live, "usage", **query))
    seconds = {"1m": 60, "1h": HOUR, "1d": DAY, "all": 10 * DAY}[width]
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in RECORDS:
        if record.start.at < end * 1000:
            at = MIDNIGHT + (record.start.at // 1000 - MIDNIGHT) // seconds * seconds
            groups.setdefault((at, *(CASES[name](record) for name in by)), []).append(record)
    found = read([page], by)
    assert found.keys() == groups.keys()
    for of, records in groups.items():
        whole = [each for each in records if each.end == "whole"]
        firsts = [each.first_byte_ms for each in whole if each.first_byte_ms is not None]
        for name, exactly in (
            ("total_ms", sorted(each.ended_at - each.start.at for each in whole)),
            ("first_byte_ms", sorted(firsts)),
        ):
            for part, reported in ((0.5, found[of][f"{name}_p50"]), (0.95, found[of][f"{name}_p95"])):
                if not exactly:
                    assert reported is None
                    continue
                true = exactly[max(0, math.ceil(part * len(exactly)) - 1)]
                assert true / 2.2 < reported < true * 2.2
    rows = list(csv.DictReader(io.StringIO(asked(live, "usage.csv", **query).text)))
    reported = [
        [str(result[name] or "") for name in QUANTILES] for bucket in page["data"] for result in bucket["results"]
    ]
    assert [[row[name] for name in QUANTILES] for row in rows] == reported
    assert "total_ms_p50" not in asked(live, "usage", **{**query, "latency": "false"}).text


def test_callers_see_nothing_of_it(live: LiveGateway) -> None:
    for path in ("requests", "requests.csv", "requests/1", "usage?start_time=0", "usage.csv?start_time=0"):
        assert asked(live, path, key=TEST_KEY).status_code == 403
        assert asked(live, path, key="wrong").status_code == 401


def test_a_call_is_there_soon_after_it_was_made(admin: Administrator, live: LiveGateway) -> None:
    reply = admin.infers(TEST_KEY)
    found: list[Any] = []

    def arrived() -> bool:
        found[:] = exact(asked(live, "requests", request_id=reply.headers["x-request-id"]))["data"]
        return bool(found)

    eventually(arrived)
    (record,) = found
    usage = reply.json()["usage"]
    assert (record["end"], record["status"], record["wire"]) == ("whole", 200, "openai")
    assert sum(record["tokens"].values()) == usage["total_tokens"]
    assert orjson.loads(asked(live, f"requests/{record['id']}").content) == orjson.loads(
        orjson.dumps(record, default=float)
    )


MANY_KEYS, MANY_HOURS = 3_000, 30
_MANY = """WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $1)
    INSERT INTO rollups (width, start, project_id, key_id, model, upstream_model, provider, operation, service_tier,
    requests, errors, lost, estimated, unpriced, input, output, cache_read, cache_write, cache_write_1h, input_audio,
    input_image, reasoning, output_audio, output_image, cost)
    SELECT 3600, $2 + n / $3 * 3600, 'default', 'key_' || (n % $3), 'fast', 'gpt-fast', 'openai',
    'createChatCompletion', '', 1, 0, 0, 0, 0, 10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 5 FROM numbers"""


def test_a_page_with_very_many_sums_ends_early_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async def fill_sums() -> None:
        store = SqliteStore(tmp_path / "gateway.db")
        await store.open()
        await store.execute(_MANY, MANY_KEYS * MANY_HOURS, MIDNIGHT, MANY_KEYS)
        await store.aclose()

    asyncio.run(fill_sums())
    query: dict[str, str | int] = {"bucket_width": "1h", "limit": 168, "group_by": "api_key_id"}
    query |= {"start_time": MIDNIGHT, "end_time": MIDNIGHT + MANY_HOURS * HOUR}
    with running_gateway(ADMIN_API_KEY=ADMIN_KEY, GATEWAY_DATA_DIR=str(tmp_path)) as live:
        admin = Administrator(live)
        pages = [admin.get("usage/completions", **query)]
        while pages[-1]["has_more"]:
            pages.append(admin.get("usage/completions", **query, page=pages[-1]["next_page"]))
        assert len(pages) == 2
        buckets = [bucket for page in pages for bucket in page["data"]]
        assert [bucket["start_time"] for bucket in buckets] == [MIDNIGHT + n * HOUR for n in range(MANY_HOURS)]
        assert {len(bucket["results"]) for bucket in buckets} == {MANY_KEYS}
        assert 50_000 <= sum(len(bucket["results"]) for bucket in pages[0]["data"]) < 60_000
        with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
            url, headers = f"{live.base_url}/v1/gateway/usage.csv", {"authorization": f"Bearer {ADMIN_KEY}"}
            table = client.get(url, params=query, headers=headers).text
        assert len(table.splitlines()) == 1 + MANY_KEYS * MANY_HOURS, "a table has no cursor, and is whole"


class Watched(SqliteStore):
    """Which remembers how many rows it has given at once."""

    gave: list[int]

    @override
    async def fetch(self, statement: str, *values: Value) -> Sequence[Row]:
        rows = await super().fetch(statement, *values)
        self.gave.append(len(rows))
        return rows


_MANY_DURATIONS = """WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $1)
    INSERT INTO latencies (width, start, project_id, key_id, model, upstream_model, provider, operation, service_tier,
    total_3) SELECT 86400, $2 + n / $3 * 86400, 'default', 'key_' || (n % $3), 'fast', 'gpt-fast', 'openai',
    'createChatCompletion', '', 1 FROM numbers"""


def test_durations_are_read_in_slices_between_which_others_are_served(tmp_path: Path) -> None:
    keys, days = 2_000, 12

    async def read_all() -> None:
        store = Watched(tmp_path / "gateway.db")
        store.gave = []
        await store.open()
        await store.execute(_MANY_DURATIONS, keys * days, MIDNIGHT, keys)
        found = await latencies(store, UsageQuery(MIDNIGHT, MIDNIGHT + days * DAY, DAY, by=("key_id",)))
        await store.aclose()
        assert [len(bucket.sums) for bucket in found] == [keys] * days
        assert sum(store.gave) == keys * days
        assert max(store.gave) < 10_000

    asyncio.run(read_all())
