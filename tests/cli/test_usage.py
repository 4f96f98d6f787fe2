"""`usage`, `costs` and `store`: from the store itself, through a gateway, and against what a provider has counted."""

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.ledger_rows import DAY
from ai_gateway.accounts.records import Record
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.contract.tokens import Tokens
from tests.accounts.calls import ended, started
from tests.support.administration import ADMIN_KEY
from tests.support.command import Ended, run_command
from tests.support.gateway import LiveGateway, running_gateway

MIDNIGHT = 1_790_000_000 // DAY * DAY
RANGE = ("--from", "2026-09-21", "--to", "2026-09-24")


def known_records() -> list[Record]:
    """Three days: ten calls of each of two models a day."""
    return [
        ended(
            started(f"{day}-{number}", at=(MIDNIGHT + day * DAY + number * 3_000) * 1000, key_id=f"key_{number % 2}"),
            upstream_model=("gpt-4o", "gpt-4o-mini")[number % 2],
            provider="openai",
            tokens=Tokens(input=100, output=20, cache_read=10),
            cost=None if number == 19 else 1_500_000_000 + number,
        )
        for day in range(3)
        for number in range(20)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")

    async def fill() -> None:
        store = SqliteStore(place / "gateway.db")
        await store.open()
        await Ledger(store).append(known_records())
        await store.aclose()

    asyncio.run(fill())
    return place


@pytest.fixture(scope="module")
def live(data: Path) -> Iterator[LiveGateway]:
    with running_gateway(ADMIN_API_KEY=ADMIN_KEY, GATEWAY_DATA_DIR=str(data), RECORDS_KEEP_DAYS="36500") as gateway:
        yield gateway


def cli(data: Path, *arguments: str, code: int = 0) -> Ended:
    found = run_command(*arguments, GATEWAY_DATA_DIR=str(data))
    assert found.returncode == code, found.stderr + found.stdout
    return found


def test_usage_is_the_same_from_the_store_and_through_a_gateway(data: Path, live: LiveGateway) -> None:
    for arguments in (
        ("usage", *RANGE),
        ("usage", "--by", "key", "--by", "day", *RANGE),
        ("usage", "--by", "project", "--csv", *RANGE),
        ("usage", "--by", "provider", "--json", *RANGE),
        ("usage", "--by", "model", "--latency", *RANGE),
        ("costs", *RANGE),
        ("costs", "--by", "model", "--json", *RANGE),
    ):
        own = cli(data, *arguments)
        remote = cli(data, *arguments, "--url", live.base_url, "--admin-key", ADMIN_KEY)
        assert own.stdout == remote.stdout
        assert own.stdout.count("\n") > 1


def test_tables_have_counts_and_exact_costs(data: Path) -> None:
    shown = cli(data, "usage", *RANGE)
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["MODEL", "REQUESTS", "ERRORS", "INPUT", "CACHED", "OUTPUT", "COST", "(USD)", "UNPRICED"]
    assert lines[1].split() == ["gpt-4o", "30", "0", "3000", "300", "600", "0.04500000027", "0"]
    assert "3 requests have no known price" in shown.stderr
    rows = list(csv.DictReader(io.StringIO(cli(data, "usage", "--by", "day", "--csv", *RANGE).stdout)))
    assert [row["num_requests"] for row in rows] == ["20", "20", "20"]
    assert Decimal(rows[0]["cost_usd"]) == Decimal("0.028500000171")
    assert "Nothing was used" in cli(data, "usage", "--from", "2020-01-01", "--to", "2020-01-02").stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--csv", "--json"), "--csv and --json exclude each other"),
        (("--from", "2026-09-24", "--to", "2026-09-21"), "--to has to be after --from"),
    ],
)
@pytest.mark.parametrize("command", ["usage", "costs"])
def test_options_that_exclude_each_other_are_refused_by_their_names(
    data: Path, command: str, options: tuple[str, ...], words: str
) -> None:
    assert words in cli(data, command, *options, code=2).stderr


def test_how_long_requests_took_is_in_the_json_and_in_tables_that_are_asked_for_it(data: Path) -> None:
    (bucket,) = json.loads(cli(data, "usage", "--json", *RANGE).stdout)["data"]
    sums = {each["model"]: each for each in bucket["results"]}
    for each in sums.values():
        assert each["total_ms_p50"] <= each["total_ms_p95"]
        assert {"first_byte_ms_p50", "first_byte_ms_p95"} <= each.keys()
    lines = [line.split() for line in cli(data, "usage", "--latency", *RANGE).stdout.splitlines()]
    assert lines[0][-8:] == ["P50", "(MS)", "P95", "(MS)", "FIRST", "BYTE", "P50", "P95"]
    shown = {line[0]: line[-4:] for line in lines[1:]}
    for model, took in sums.items():
        assert shown[model][:2] == [str(took["total_ms_p50"]), str(took["total_ms_p95"])]
    assert "P50" not in cli(data, "usage", *RANGE).stdout


def test_a_time_that_is_none_is_refused(data: Path) -> None:
    assert "neither a date" in cli(data, "usage", "--from", "soon", code=2).stderr


def export(**wrong: int) -> dict[str, Any]:
    """What OpenAI's usage API answers for these days, but for what is wrong in it."""
    results = [
        {"object": "organization.usage.completions.result", "model": model, "num_model_requests": 10,
         "input_tokens": 1_100, "output_tokens": 200}
        for model in ("gpt-4o-2024-08-06", "gpt-4o-mini")
    ]  # fmt: skip
    buckets = [
        {"object": "bucket", "start_time": MIDNIGHT + day * DAY, "end_time": MIDNIGHT + (day + 1) * DAY,
         "results": [dict(each) for each in results]}
        for day in range(3)
    ]  # fmt: skip
    buckets[1]["results"][1].update(wrong)  # type: ignore[index]
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}


def test_an_export_that_says_the_same_has_no_difference(data: Path, tmp_path: Path) -> None:
    (tmp_path / "usage.json").write_text(json.dumps(export()))
    assert "No difference" in cli(data, "usage", "reconcile", str(tmp_path / "usage.json")).stdout
    pages = "\n".join(json.dumps({**export(), "data": [bucket]}) for bucket in export()["data"])
    (tmp_path / "usage.jsonl").write_text(pages)
    assert "No difference" in cli(data, "usage", "reconcile", str(tmp_path / "usage.jsonl")).stdout


def test_a_difference_is_told_by_day_and_model(data: Path, tmp_path: Path) -> None:
    (tmp_path / "usage.json").write_text(json.dumps(export(input_tokens=1_090, num_model_requests=11)))
    reported = cli(data, "usage", "reconcile", str(tmp_path / "usage.json"), code=1).stdout.splitlines()
    assert reported[1].split() == ["2026-09-22", "gpt-4o-mini", "requests", "11", "10", "-1"]
    assert reported[2].split() == ["2026-09-22", "gpt-4o-mini", "input", "1090", "1100", "10"]
    assert len(reported) == 3
    listed = json.loads(cli(data, "usage", "reconcile", str(tmp_path / "usage.json"), "--json", code=1).stdout)
    assert [each["difference"] for each in listed["data"]] == ["-1", "10"]
    cli(data, "usage", "reconcile", str(tmp_path / "usage.json"), "--tolerance", "10")


def test_costs_are_reconciled_from_a_table(data: Path, tmp_path: Path) -> None:
    rows = ["start_time,line_item,amount_value"]
    rows += [f"{MIDNIGHT + day * DAY},\"gpt-4o, {part}\",{'0.01' if part == 'input' else '0.00500000009'}"
             for day in range(3) for part in ("input", "output")]  # fmt: skip
    rows += [f"2026-09-{21 + day}T00:00:00Z,gpt-4o-mini,0.013500000081" for day in range(3)]
    (tmp_path / "costs.csv").write_text("\n".join(rows))
    assert "No difference" in cli(data, "usage", "reconcile", str(tmp_path / "costs.csv")).stdout
    reported = cli(data, "usage", "reconcile", str(tmp_path / "costs.csv"), "--provider", "nobody", code=1).stdout
    assert reported.count("cost") == 6


@pytest.mark.parametrize(
    "text",
    [
        "", "nothing\n", "{", '{"data": 7}', "model,input_tokens\na,1\n", "[]", "[1, 2]", '{"data": [1]}',
        "[" * 100_000, "date,model,cost\n2026-11-01,m,NaN\n", "date,model,cost\n2026-11-01,m,Infinity\n",
        "date,model\n9e9,m\n", "start_time,model,cost\n99999999999999,m,1\n", f"date,model\n{'x' * 200_000},m\n",
    ],
)  # fmt: skip
def test_a_file_that_is_no_export_is_told_as_one(data: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    refused = cli(data, "usage", "reconcile", str(tmp_path / "file"), code=2)
    assert str(tmp_path / "file") in refused.stderr


def test_a_file_that_cannot_be_read_is_told_as_one(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("date,model\n".encode("utf-16"))
    for file, reason in ((tmp_path, "Is a directory"), (tmp_path / "file", "is not UTF-8 text")):
        refused = cli(data, "usage", "reconcile", str(file), code=2)
        assert str(file) in refused.stderr
        assert reason in refused.stderr


def test_the_store_is_checked_mended_exported_and_pruned(tmp_path: Path) -> None:
    async def fill(statement: str | None = None) -> None:
        store = SqliteStore(tmp_path / "gateway.db")
        await store.open()
        await Ledger(store).append(known_records())
        if statement is not None:
            await store.execute(statement)
        await store.aclose()

    asyncio.run(fill("UPDATE rollups SET requests = 7 WHERE width = 86400"))
    reported = cli(tmp_path, "store", "check", code=1).stdout
    assert "60 records" in reported
    assert reported.count(" day ") == 3
    assert "3 days" in cli(tmp_path, "store", "rebuild").stdout
    assert "are those of the records" in cli(tmp_path, "store", "check").stdout
    exported = [json.loads(line) for line in cli(tmp_path, "store", "export").stdout.splitlines()]
    assert len(exported) == 60
    assert exported[0]["started_at_ms"] > exported[-1]["started_at_ms"]
    assert len(cli(tmp_path, "store", "export", *RANGE[:3], "2026-09-22").stdout.splitlines()) == 20
    before = cli(tmp_path, "usage", *RANGE).stdout
    assert "60 records were deleted" in cli(tmp_path, "store", "prune", "--older-than", "7d").stdout
    assert cli(tmp_path, "usage", *RANGE).stdout == before
    assert cli(tmp_path, "store", "export").stdout == ""


def test_without_a_store_there_is_nothing_to_look_after() -> None:
    ended_ = run_command("store", "check", STORE_URL="off")
    assert ended_.returncode == 2
    assert "STORE_URL=off" in ended_.stderr
