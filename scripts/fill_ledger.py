"""Fill a store with records, and time what is asked of it: python -m scripts.fill_ledger DIRECTORY [--records N].

The records are those of a month: 200 keys in 20 projects, eight models of four providers, each in every hour.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from ai_gateway.accounts.calls import LAST, CallFilter, page_of_calls
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.ledger_rows import DAY, HOUR
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.accounts.usage import MINUTE, WHOLE, UsageQuery, usage
from ai_gateway.api.admin.usage import MAX_SUMS

_MONTH = 30 * DAY
# Made by the database itself: to make them as values and hand them over takes an hour. Every number is one that follows
# from the record's own, so that keys, models and tokens are mixed well and the same every time.
_FILL = """WITH RECURSIVE numbers (n) AS (SELECT $1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $2),
    mixed AS (SELECT n, $3 + n * $4 / $5 AS at, n * 7919 % 200 AS k, n / 200 % 8 AS m FROM numbers)
    INSERT INTO records (at, id, request_id, ended_at, first_byte_ms, project_id, key_id, wire, operation,
    model, stream, provider, upstream_model, service_tier, ending, basis, status, code, input, output, cache_read,
    cache_write, cache_write_1h, input_audio, input_image, reasoning, output_audio, output_image, cost, price, details)
    SELECT at, printf('%08x%012d', at / 1000, n), printf('req_%032d', n), at + n % 20000, n % 2000,
    printf('proj_%02d', k / 10), printf('key_%03d', k), 'openai',
    CASE WHEN n % 10 = 0 THEN 'createEmbedding' ELSE 'createChatCompletion' END, 'model-' || m, n % 2,
    'provider-' || (m % 4), 'upstream-model-' || m, NULL, CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'whole' END,
    'reported', CASE WHEN n % 50 = 0 THEN 502 ELSE 200 END, NULL, n % 4001, n % 1009, n % 2003, 0, 0, 0, 0, n % 101, 0,
    0, (n % 4001) * 150000 + (n % 1009) * 600000, 'table:1',
    '{"attempts":[{"provider":"provider-' || (m % 4) || '","model":"upstream-model-' || m || '","started_at":' || at
    || ',"ended_at":' || (at + 900) || ',"tokens":{"input":' || (n % 4001) || '}}]}' FROM mixed"""
_SLICE = 100_000


async def fill(ledger: Ledger, count: int, end: int) -> None:
    """Write so many calls of the 30 days before an instant, in the order of time, and then their sums."""
    begun = time.monotonic()
    for first in range(0, count, _SLICE):
        last = min(first + _SLICE, count)
        await ledger.store.execute(_FILL, first, last, (end - _MONTH) * 1000, _MONTH * 1000, count)
    print(f"{count} records in {time.monotonic() - begun:.0f} s", flush=True)
    begun = time.monotonic()
    days = await ledger.rebuild()
    print(f"the sums of {days} days in {time.monotonic() - begun:.0f} s", flush=True)


async def measure(ledger: Ledger, end: int) -> dict[str, float]:
    """Seconds of processor time that each question takes, the best of three. Other work of the machine is not in it."""
    month = (end - _MONTH) // DAY * DAY
    hours = end // HOUR * HOUR
    store = ledger.store
    questions = {
        "a month by day": UsageQuery(month, month + 31 * DAY, DAY),
        "a month by day, project and model": UsageQuery(month, month + 31 * DAY, DAY, ("project_id", "upstream_model")),
        "a month by day and key": UsageQuery(month, month + 31 * DAY, DAY, ("key_id",)),
        "a month by day, key and model": UsageQuery(month, month + 31 * DAY, DAY, ("key_id", "upstream_model")),
        "a month of one key": UsageQuery(month, month + 31 * DAY, DAY, (), {"key_id": {"key_017"}}),
        "a month in one sum by key": UsageQuery(month, month + 31 * DAY, WHOLE, ("key_id",)),
        "a week by hour and model": UsageQuery(hours - 7 * DAY, hours, HOUR, ("upstream_model",)),
        "a week by hour, key and model, its first page": UsageQuery(
            hours - 7 * DAY, hours, HOUR, ("key_id", "upstream_model")
        ),
        "an hour by minute": UsageQuery(hours - HOUR, hours, MINUTE),
        "a day by minute and model": UsageQuery(hours - DAY, hours, MINUTE, ("upstream_model",)),
    }
    found = {name: await _best(partial(usage, store, question, MAX_SUMS)) for name, question in questions.items()}
    for name, wanted in {
        "the newest 100 requests": CallFilter(),
        "the newest 100 of a key": CallFilter(key_id="key_042"),
        "failed ones of a project that has none": CallFilter(project_id="proj_07", ending="failed"),
        "a status that none has": CallFilter(status=418),
        "a model without calls": CallFilter(model="nothing"),
        "of a key, those whose clients left, which are none": CallFilter(key_id="key_017", ending="left"),
        "one request id": CallFilter(request_id=f"req_{0:012x}"),
    }.items():
        found[name] = await _best(partial(page_of_calls, store, wanted, LAST, 100))
    found["spent in this month by a key"] = await _best(partial(ledger.spent, "key", "key_007", month, None))
    return found


async def _best(ask: Callable[[], Awaitable[object]]) -> float:
    took = []
    for _ in range(3):
        begun = time.process_time()
        await ask()
        took.append(time.process_time() - begun)
    return min(took)


async def main() -> None:
    """Fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--end", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    path = arguments.directory / "gateway.db"
    is_new = not path.exists()
    store = SqliteStore(path)
    await store.open()
    ledger = Ledger(store)
    if is_new:
        await fill(ledger, arguments.records, arguments.end)
    for name, seconds in (await measure(ledger, arguments.end)).items():
        print(f"{seconds * 1000:8.1f} ms  {name}")
    print(f"{path.stat().st_size / 2**20:.0f} MiB")
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main())
