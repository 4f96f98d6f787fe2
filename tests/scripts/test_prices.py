"""The table of prices is what its source says, to the last digit, and what changes is told before it is written."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import cycle
from math import ceil
from pathlib import Path

import pytest
from genai_prices.data import providers as source_providers
from genai_prices.types import (
    ClauseContains,
    ClauseEquals,
    ClauseOr,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
    Usage,
)

from ai_gateway.accounts.price_table import PATH, PriceTable, Row
from ai_gateway.contract.tokens import Tokens
from ai_gateway.providers.catalog import ROWS
from scripts.prices.__main__ import main
from scripts.prices.report import report
from scripts.prices.source import ORIGINS, Origin, Unpriced, ids_of, is_guess, rows_of, take
from scripts.prices.table import render

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SOURCES = {provider.id: provider for provider in source_providers}


def model(prices: ModelPrice | list[ConditionalPrice], variants: list[PriceVariant] | None = None) -> ModelInfo:
    return ModelInfo("m", ClauseEquals("m"), prices=prices, price_variants=variants)


def usd(**units: str | TieredPrices) -> ModelPrice:
    return ModelPrice(**{name: Decimal(price) if isinstance(price, str) else price for name, price in units.items()})


def test_the_committed_table_is_what_the_pinned_source_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert "models added: 0" in capsys.readouterr().out


def test_every_provider_of_the_table_is_one_that_the_gateway_knows() -> None:
    assert {origin.provider for origin in ORIGINS} <= {row.name for row in ROWS}


_USAGES = cycle(
    [
        Tokens(1_000, 77),
        Tokens(3, 5, cache_read=1_000_003),
        Tokens(11, 13, cache_read=5, cache_write=7),
        Tokens(128_001, 13, cache_read=272_000),
        Tokens(0, 13, cache_write=199_999, reasoning=7),
    ]
)
_TIMES = cycle([NOW, NOW - timedelta(days=400), datetime(2026, 11, 21, 3, 30, tzinfo=UTC), NOW + timedelta(days=30)])


def _by_the_source(origin: Origin, name: str, tokens: Tokens, at: datetime) -> Decimal:
    """What the source itself makes of it."""
    before, after = origin.form.split("{}")
    provider = SOURCES[origin.source]
    found = provider.find_model(name.removeprefix(before).removesuffix(after))
    assert found is not None
    usage = Usage(
        input_tokens=tokens.whole_input,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        output_tokens=tokens.whole_output,
        output_reasoning_tokens=tokens.reasoning,
    )
    return found.calc_price(usage, provider, genai_request_timestamp=at).total_price


def test_every_price_is_what_the_source_works_out() -> None:
    table, checked = PriceTable.shipped(), 0
    for name in table.entries():
        provider, _, known = name.partition("/")
        tokens, at = next(_USAGES), next(_TIMES)
        origin = next(
            origin
            for origin in reversed(ORIGINS)
            if origin.provider == provider
            and known.startswith(origin.form.split("{}")[0])
            and known.endswith(origin.form.split("{}")[1])
        )
        price = table.find(provider, known, at.timestamp()).price
        assert price is not None
        assert price.cost(tokens) == ceil(_by_the_source(origin, known, tokens, at).scaleb(12)), name
        checked += 1
    assert checked > 2_000


def test_what_holds_changes_with_the_day_the_hour_the_size_and_the_tier() -> None:
    day = datetime(2026, 1, 2, tzinfo=UTC).date()
    rows = rows_of(
        model(
            [
                ConditionalPrice(prices=usd(input_mtok="1", output_mtok="2")),
                ConditionalPrice(
                    StartDateConstraint(day),
                    prices=usd(input_mtok=TieredPrices(Decimal(3), [Tier(100, Decimal(4))]), output_mtok="5"),
                ),
                ConditionalPrice(
                    TimeOfDateConstraint(
                        datetime(1, 1, 1, 22, tzinfo=UTC).timetz(), datetime(1, 1, 1, 6, 30, tzinfo=UTC).timetz()
                    ),
                    prices=usd(input_mtok="0.5", output_mtok="0.5"),
                ),
            ],
            [
                PriceVariant({"service_tier": "flex"}, usd(output_mtok="1"), StartDateConstraint(day)),
                PriceVariant({"service_tier": "default"}, usd()),
                PriceVariant({"processing": "batch"}, usd(input_mtok="0.1")),
            ],
        )
    )
    night: Row = {"rates": {"input": 500_000, "output": 500_000}}
    flexible_night: Row = {**night, "tiers": {"flex": {"rates": {"input": 500_000, "output": 1_000_000}}}}
    long = [(100, {"input": 4_000_000, "output": 1_000_000})]
    assert rows == [
        {"rates": {"input": 1_000_000, "output": 2_000_000}, "hours": [(0, 390, night), (1320, 1440, night)]},
        {
            "since": "2026-01-02",
            "rates": {"input": 3_000_000, "output": 5_000_000},
            "above": [(100, {"input": 4_000_000, "output": 5_000_000})],
            "tiers": {"flex": {"rates": {"input": 3_000_000, "output": 1_000_000}, "above": long}},
            "hours": [(0, 390, flexible_night), (1320, 1440, flexible_night)],
        },
    ]


def test_a_price_that_is_told_again_begins_no_new_row() -> None:
    again = [
        ConditionalPrice(
            None if year is None else StartDateConstraint(datetime(year, 1, 1, tzinfo=UTC).date()), prices=p
        )
        for year, p in ((None, usd(input_mtok="1")), (2025, usd(input_mtok="2")), (2026, usd(input_mtok="2.0")))
    ]
    assert [row.get("since") for row in rows_of(model(again))] == [None, "2025-01-01"]


@pytest.mark.parametrize(
    "prices",
    [usd(), usd(output_mtok="1"), usd(input_mtok="1", requests_kcount="5"), usd(input_mtok="1", audio_hours="1")],
)
def test_what_is_not_priced_by_tokens_alone_is_not_taken(prices: ModelPrice) -> None:
    with pytest.raises(Unpriced):
        rows_of(model(prices))


def test_no_digit_is_lost_and_no_float_is_read() -> None:
    (row,) = rows_of(model(usd(input_mtok="0.041666666666666664", output_mtok="3.75")))
    assert Decimal(row["rates"]["input"]) / row["per"] == Decimal("41666.666666666664")
    assert Decimal(row["rates"]["output"]) / row["per"] == 3_750_000


def test_only_ids_in_full_are_taken() -> None:
    clause = ClauseOr([ClauseEquals("M-1"), ClauseOr([ClauseEquals("m-2"), ClauseContains("m")])])
    info = ModelInfo("m", clause, prices=usd(input_mtok="1"))
    assert ids_of(info, ["m-3"]) == ["m", "m-1", "m-2", "m-3"]
    assert is_guess(clause)
    assert ids_of(ModelInfo("ft:m", clause), []) == ["m-1", "m-2"]


def test_what_was_left_is_counted_by_reason() -> None:
    left = take().left
    assert "openai/tts-1" in left["priced by more than tokens: input_mchars"]
    assert "perplexity/sonar" in left["priced by more than tokens: requests_kcount"]
    assert "openai/moderation" in left["the source has no price"]


def test_the_report_tells_who_comes_and_goes_and_each_price_from_what_to_what() -> None:
    plain: Row = {"rates": {"input": 1_250_000, "output": 10_000_000}}
    more_expensive: Row = {"since": "2026-12-01", "rates": {"input": 2_500_000, "output": 10_000_000}}
    before = PriceTable(render({"openai/a": [plain], "openai/b": [plain], "openai/b-1": "openai/b"}))
    after = PriceTable(render({"openai/b": [plain, more_expensive], "openai/b-1": "openai/b", "openai/c": [plain]}))
    lines = list(report(before, after, {"a reason": ["x", "y"]}))
    assert lines[0] == "not taken, 2: a reason: x, y"
    assert lines[1:] == [
        f"{before.basis} -> {after.basis}: 3 ids",
        "models added: 1: openai/c",
        "model removed: openai/a, which was input 1.25, output 10",
        "price changed: openai/b from 2026-12-01 on: input 1.25, output 10 -> input 2.5, output 10",
        "price changed: openai/b-1 from 2026-12-01 on: input 1.25, output 10 -> input 2.5, output 10",
    ]


def test_it_writes_a_table_only_if_it_is_another_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prices.jsonl"
    assert main(["--table", str(path)]) == 0
    assert path.read_bytes() == PATH.read_bytes()
    path.write_bytes(render({"openai/gone": [{"rates": {"input": 1, "output": 1}}]}))
    assert main(["--table", str(path), "--check"]) == 1
    said = capsys.readouterr()
    assert "model removed: openai/gone, which was input 0.000001, output 0.000001" in said.out
    assert "run `make prices`" in said.err
    assert b"openai/gone" in path.read_bytes()
    assert main(["--table", str(path)]) == 0
    assert path.read_bytes() == PATH.read_bytes()
