"""Lists of single calls, and usage in parts: the same as one by one, and quick where what is asked for is rare."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ai_gateway.accounts import ledger_statements as statements
from ai_gateway.accounts.calls import LAST, CallFilter, page_of_calls
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.ledger_rows import DAY, HOUR, TOKENS
from ai_gateway.accounts.records import Record
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.accounts.usage import MINUTE, UsageQuery, usage
from ai_gateway.contract.tokens import Tokens
from tests.accounts.calls import NOW_MS, ended, started

BEGIN = NOW_MS // 1000 // DAY * DAY
ENDS = ("whole", "whole", "whole", "left", "broken", "failed", "lost")


def known_records() -> list[Record]:
    """Some days with calls and some without, hours with many and with few; most kinds are rare."""
    chance = random.Random(7)
    found = []
    for number in range(500):
        day = chance.choice([0, 0, 1, 2, 5, 19, 20])
        start = started(
            f"{number:05}",
            at=(BEGIN + day * DAY + chance.choice([0, 3_600, 7_199, chance.randrange(DAY)])) * 1000 + number % 3,
            project_id=chance.choice(["default"] * 30 + ["proj_a"]),
            key_id=chance.choice(["key_1"] * 20 + ["key_2", None]),
            model=chance.choice(["fast"] * 40 + ["slow"]),
            request_id=f"req-{number % 100}",
        )
        end = chance.choice(ENDS)
        found.append(
            ended(
                start,
                end=end,
                status={"failed": chance.choice([429, 502]), "left": None, "lost": None}.get(end, 200),
                provider=chance.choice(["openai"] * 50 + ["groq"]),
                upstream_model=chance.choice(["gpt-fast"] * 50 + ["llama"]),
            )
        )
    return sorted(found, key=lambda each: (each.start.at, each.start.id), reverse=True)


RECORDS = known_records()
CHOICES: dict[str, list[Any]] = {
    "start": [0, BEGIN * 1000 + DAY * 1000 + 5, (BEGIN + 5 * DAY) * 1000],
    "end": [LAST[0], (BEGIN + 5 * DAY + HOUR) * 1000, BEGIN * 1000],
    "model": ["fast", "slow", "llama", "nobody"],
    "provider": ["openai", "groq", "nobody"],
    "status": [200, 429, 418],
    "ending": [*ENDS[2:]],
    "project_id": ["proj_a", "nobody"],
    "key_id": ["key_1", "key_2", "nobody"],
    "request_id": ["req-7"],
}


def expected(wanted: CallFilter) -> list[str]:
    """Ids, by looking at each."""

    def fits(record: Record) -> bool:
        start = record.start
        return (
            wanted.start <= start.at < wanted.end
            and wanted.model in {None, start.model, record.upstream_model}
            and wanted.provider in {None, record.provider}
            and wanted.status in {None, record.status}
            and wanted.ending in {None, record.end}
            and wanted.project_id in {None, start.project_id}
            and wanted.key_id in {None, start.key_id}
            and wanted.request_id in {None, start.request_id}
        )

    return [record.start.id for record in RECORDS if fits(record)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "gateway.db")
    await store.open()
    for first in range(0, len(RECORDS), 500):
        await Ledger(store).append(RECORDS[first : first + 500])
    yield store
    await store.aclose()


@pytest.mark.slow
async def test_pages_of_any_filter_are_what_looking_at_each_call_gives(store: SqliteStore) -> None:
    chance = random.Random(9)
    found_some = 0
    for _ in range(100):
        names = chance.sample(list(CHOICES), chance.randint(0, 4))
        wanted = CallFilter(**{name: chance.choice(CHOICES[name]) for name in names})
        found: list[str] = []
        before, more = LAST, True
        limit = chance.choice([1, 7, 100]) if len(expected(wanted)) < 60 else 500
        while more:
            calls, more = await page_of_calls(store, wanted, before, limit)
            assert len(calls) == limit or not more
            found += [str(call.columns["id"]) for call in calls]
            before = calls[-1].place if calls else before
        assert found == expected(wanted), wanted
        found_some += bool(found)
    assert found_some > 30


async def test_rare_calls_are_found_by_an_index(store: SqliteStore) -> None:
    for statement, index in {
        statements.PLACES_OF_ENDING: "records_by_ending",
        statements.PLACES_OF_STATUS: "records_by_status",
    }.items():
        values = (0, LAST[0], "", 10, None, None, 418, "left", None, None)
        plan = await store.fetch(f"EXPLAIN QUERY PLAN {statement}", *values)
        assert index in str(plan), plan


async def test_usage_in_slices_is_that_of_the_whole(store: SqliteStore) -> None:
    for width, length in ((DAY, 30 * DAY), (HOUR, 3 * DAY), (MINUTE, 5 * HOUR)):
        question = UsageQuery(BEGIN, BEGIN + length, width, ("key_id", "model", "provider"))
        whole = await usage(store, question)
        assert [bucket.start for bucket in whole] == list(range(BEGIN, BEGIN + length, width))
        in_time = [each for each in RECORDS if BEGIN <= each.start.at // 1000 < BEGIN + length]
        assert sum(each.requests for bucket in whole for each in bucket.sums.values()) == len(in_time)
        some, start = [], BEGIN
        while start < BEGIN + length:  # as pages that have room for five sums
            page = await usage(store, UsageQuery(start, BEGIN + length, width, question.by), 5)
            some += page
            start = page[-1].end
        assert [(each.start, list(each.sums)) for each in some] == [(each.start, list(each.sums)) for each in whole]


def test_tokens_are_in_the_order_of_the_columns() -> None:
    assert Tokens._fields == (*TOKENS, "searches")
