"""Fill a store with records, and time what is asked of it: python -m scripts.fill_ledger DIRECTORY [--records N].

The records are those of a month: 200 keys in 20 projects, eight models of four providers, each in every hour.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from ai_gateway.accounts.calls import LAST, CallFilter, page_of_calls
from ai_gateway.accounts.ledger import DAY, HOUR, Ledger
from ai_gateway.accounts.records import AttemptRecord, Record, Start
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.accounts.usage import MINUTE, WHOLE, Question, usage
from ai_gateway.contract.call import Tokens

_MONTH = 30 * DAY
_BATCH = 5_000
_PROVIDERS = ("openai", "anthropic", "groq", "ollama")


def records(count: int, end: int) -> Iterator[Record]:
    """So many calls of the 30 days before an instant, in the order of time."""
    dice = random.Random(1)  # noqa: S311 - the same every time is the point
    for number in range(count):
        at = (end - _MONTH) * 1000 + number * _MONTH * 1000 // count
        key = dice.randrange(200)
        model = dice.randrange(8)
        provider = _PROVIDERS[model % 4]
        start = Start(
            id=f"{at:012x}{number:012x}",
            request_id=f"req_{at:012x}{number:020x}",
            at=at,
            project_id=f"proj_{key // 10:02}",
            key_id=f"key_{key:03}",
            wire="openai",
            operation="createEmbedding" if number % 10 == 0 else "createChatCompletion",
            model=f"model-{model}",
            stream=bool(number % 2),
            provider=provider,
            upstream_model=f"{provider}-model-{model}",
            bound=10**9,
            bound_tokens=Tokens(input=1_000, output=4_000),
        )
        tokens = Tokens(input=dice.randrange(4_000), output=dice.randrange(1_000), cache_read=dice.randrange(2_000))
        cost = tokens.input * 150_000 + tokens.output * 600_000
        failed = dice.random() < 0.02
        yield Record(
            start=start,
            ended_at=at + dice.randrange(20_000),
            first_byte_ms=dice.randrange(2_000),
            end="failed" if failed else "whole",
            basis="reported",
            status=502 if failed else 200,
            code="upstream_error" if failed else None,
            provider=provider,
            upstream_model=start.upstream_model,
            tokens=tokens,
            cost=cost,
            price="table:1",
            attempts=(
                AttemptRecord(
                    provider=provider,
                    model=start.upstream_model,
                    started_at=at,
                    ended_at=at + 900,
                    tokens=tokens,
                    cost=cost,
                ),
            ),
        )


async def fill(ledger: Ledger, count: int, end: int) -> None:
    """Write them, in batches, with their sums."""
    batch: list[Record] = []
    begun = time.monotonic()
    for number, record in enumerate(records(count, end), 1):
        batch.append(record)
        if len(batch) == _BATCH or number == count:
            await ledger.append(batch)
            batch.clear()
        if number % 500_000 == 0:
            print(f"{number} records, {number / (time.monotonic() - begun):.0f}/s", flush=True)


async def measure(ledger: Ledger, end: int) -> dict[str, float]:
    """Seconds that each question takes, the best of two."""
    month = (end - _MONTH) // DAY * DAY
    hours = end // HOUR * HOUR
    store = ledger.store
    questions = {
        "a month by day": Question(month, month + 31 * DAY, DAY),
        "a month by day, project and model": Question(month, month + 31 * DAY, DAY, ("project_id", "upstream_model")),
        "a month by day and key": Question(month, month + 31 * DAY, DAY, ("key_id",)),
        "a month by day, key and model": Question(month, month + 31 * DAY, DAY, ("key_id", "upstream_model")),
        "a month of one key": Question(month, month + 31 * DAY, DAY, (), {"key_id": {"key_017"}}),
        "a month in one sum by key": Question(month, month + 31 * DAY, WHOLE, ("key_id",)),
        "a week by hour and model": Question(hours - 7 * DAY, hours, HOUR, ("upstream_model",)),
        "a week by hour, key and model": Question(hours - 7 * DAY, hours, HOUR, ("key_id", "upstream_model")),
        "an hour by minute": Question(hours - HOUR, hours, MINUTE),
        "a day by minute and model": Question(hours - DAY, hours, MINUTE, ("upstream_model",)),
    }
    found = {name: await _best(partial(usage, store, question)) for name, question in questions.items()}
    for name, wanted in {
        "the newest 100 requests": CallFilter(),
        "the newest 100 of a key": CallFilter(key_id="key_042"),
        "the newest 100 of a project that failed": CallFilter(project_id="proj_07", ending="failed"),
        "one request id": CallFilter(request_id=f"req_{0:012x}"),
    }.items():
        found[name] = await _best(partial(page_of_calls, store, wanted, LAST, 100))
    found["spent in this month by a key"] = await _best(partial(ledger.spent, "key", "key_007", month, None))
    return found


async def _best(ask: Callable[[], Awaitable[object]]) -> float:
    took = []
    for _ in range(2):
        begun = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - begun)
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
