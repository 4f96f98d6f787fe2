"""Who knows a price, what it bounds, and what no sum of tokens may ever do."""

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.accounts.price import INPUT, MAX_SEARCHES, OUTPUT, SEARCHES, Price, rate, rates_of, whole_per
from ai_gateway.accounts.price_table import PATH, PriceTable
from ai_gateway.accounts.prices import Prices
from ai_gateway.app.configuration import read_configuration
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.sources import read_settings, read_sources
from ai_gateway.config.tables import PriceSettings
from ai_gateway.contract.tokens import Tokens
from ai_gateway.routing.model_list.parse import ListedModel

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
TABLE = PriceTable.shipped()
CLASSES = (*INPUT, *OUTPUT, SEARCHES)


def stated(**tables: Mapping[str, object]) -> Prices:
    return Prices({name: PriceSettings.model_validate(table) for name, table in tables.items()})


def listed(model: str, prompt: str | None, completion: str | None, provider: str = "openai") -> ListedModel:
    prices = (None if price is None else Decimal(price) for price in (prompt, completion))
    return ListedModel(model, provider, None, *prices)


def found(prices: Prices, provider: str = "openai", model: str = "gpt-5", at: float = NOW) -> Price:
    price = prices.find(provider, model, at)
    assert price is not None
    return price


# --- who knows -------------------------------------------------------------------------------------------------------


def test_the_operator_counts_before_the_list_and_the_list_before_the_table() -> None:
    prices = Prices()
    assert found(prices).rates.input == 1_250_000
    prices.take_list([listed("gpt-5", "0.002", "0.02")])
    assert (found(prices).rates.input, found(prices).rates.output) == (2_000_000, 20_000_000)
    prices = stated(**{"openai/gpt-5": {"input": 3, "output": 30}})
    prices.take_list([listed("gpt-5", "0.002", "0.02")])
    assert (found(prices).rates.input, found(prices).rates.output) == (3_000_000, 30_000_000)
    assert found(prices, model="gpt-5-nano").rates.input == 50_000


def test_each_source_has_a_basis_that_changes_with_its_prices() -> None:
    prices = Prices()
    bases = [found(prices).basis]
    for price in ("0.002", "0.003"):
        prices.take_list([listed("gpt-5", price, "0.02")])
        bases.append(found(prices).basis)
    bases += [found(stated(**{"openai/gpt-5": {"input": price, "output": 30}})).basis for price in (3, 4)]
    assert len(set(bases)) == len(bases)
    assert [basis.split("-")[0] for basis in bases] == ["genai", "model", "model", "settings", "settings"]
    assert bases[0] == TABLE.basis


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-5-turbo"),
        ("openai", "gpt-5-2025-08-08"),
        ("openai", ""),
        ("openai", "gpt-5 "),
        ("openai", 'gpt-5",'),
        ("openai", "gpt-5\n"),
        ("openai", "GPT-\uff15"),
        ("openai", "\udcff"),
        ("openai", "x" * 5_000),
        ("azure", "gpt-5"),
        ("groq", "gpt-5"),
        ("lab", "gpt-5"),
        ("perplexity", "sonar"),
        ("ollama", "qwen3:8b"),
        ("", "openai/gpt-5"),
        ("open", "ai/gpt-5"),
    ],
)
def test_what_nobody_knows_is_unknown(provider: str, model: str) -> None:
    assert Prices().find(provider, model, NOW) is None


def test_capitals_make_no_other_model() -> None:
    assert found(Prices(), "together", "meta-llama/Llama-3.3-70B-Instruct-Turbo").rates.input > 0
    assert found(stated(**{"lab/Our-Own": {"input": 1, "output": 1}}), "lab", "our-own").rates.input == 1_000_000


def test_an_entry_of_the_list_without_both_prices_knows_none() -> None:
    prices = Prices()
    prices.take_list([listed("gpt-5", "0.002", None), listed("gpt-5-nano", None, "0.002")])
    assert found(prices).rates.input == 1_250_000
    assert found(prices, model="gpt-5-nano").rates.input == 50_000


def test_the_first_of_equal_entries_counts_and_a_new_list_replaces_all_of_the_old_one() -> None:
    prices = Prices()
    prices.take_list([listed("a", "0.001", "0.001"), listed("a", "0.002", "0.002"), listed("b", "0.003", "0.003")])
    assert found(prices, model="a").rates.input == 1_000_000
    prices.take_list([listed("b", "0.004", "0.004")])
    assert prices.find("openai", "a", NOW) is None
    assert found(prices, model="b").rates.input == 4_000_000


def test_a_star_is_for_every_model_of_a_provider_without_a_table_of_its_own() -> None:
    prices = stated(**{"ollama/*": {"input": 0, "output": 0}, "ollama/big": {"input": 1, "output": 2}})
    assert found(prices, "ollama", "any:7b").bound(1_000, 1_000) == 0
    assert found(prices, "ollama", "any:7b").model == "any:7b"
    assert found(prices, "ollama", "big").rates.output == 2_000_000
    assert prices.find("vllm", "any", NOW) is None


def test_the_built_in_provider_costs_nothing_unless_the_operator_says_so() -> None:
    assert found(Prices(), "custom", "echo").cost(Tokens(*range(1, 11))) == 0
    assert found(stated(**{"custom/echo": {"input": 1, "output": 1}}), "custom", "echo").cost(Tokens(1, 1)) == 2_000_000


def test_names_that_callers_make_up_do_not_fill_the_memory() -> None:
    prices = Prices()
    for number in range(4_200):
        prices.find("openai", f"made-up-{number}", NOW)
    remembered = vars(prices)["_known"]
    assert len(remembered) <= 4_096


def test_a_price_that_changes_does_so_in_a_process_that_goes_on() -> None:
    prices, midnight = Prices(), datetime(2025, 6, 10, tzinfo=UTC).timestamp()
    seen = [found(prices, model="o3", at=midnight + step).rates.input for step in (-1, 0, -1, 1, -86_400)]
    assert seen == [10_000_000, 2_000_000, 10_000_000, 2_000_000, 10_000_000]


@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-v4-pro"])
def test_hours_begin_and_end_to_the_second(model: str) -> None:
    midnight = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    busy = ((30, 990),) if model == "deepseek-chat" else ((60, 240), (360, 600))
    prices = Prices()
    quiet = found(prices, "deepseek", model, midnight).rates.input
    for minute in range(24 * 60):
        for second in (0, 59.5):
            is_busy = any(start <= minute < end for start, end in busy)
            at = midnight + minute * 60 + second
            assert (found(prices, "deepseek", model, at).rates.input > quiet) is is_busy


# --- the table -------------------------------------------------------------------------------------------------------


def every_price() -> list[Price]:
    ids = (name.partition("/")[::2] for name in TABLE.entries())
    return [found(Prices(), provider, model) for provider, model in ids]


def test_every_entry_of_the_table_is_a_price_and_more_input_is_never_cheaper() -> None:
    prices = every_price()
    assert len(prices) > 2_000
    for price in prices:
        for each in (price, *price.service_tiers.values()):
            steps = [each.rates, *(rates for _, rates in each.above)]
            assert [start for start, _ in each.above] == sorted({start for start, _ in each.above})
            for lower, higher in pairwise(steps):
                assert all(getattr(lower, name) <= getattr(higher, name) for name in CLASSES)


def test_the_table_costs_little_to_load_and_to_keep() -> None:
    assert PATH.stat().st_size < 2_000_000
    assert sys.getsizeof(PATH.read_bytes()) < 2_000_000
    seen = []
    for _ in range(5):
        begun = time.process_time()
        table = PriceTable.shipped()
        table.find("openai", "gpt-5", NOW)
        seen.append(time.process_time() - begun)
    assert min(seen) < 0.003


def test_the_basis_of_the_table_is_of_what_it_holds() -> None:
    lines = PATH.read_bytes().split(b"\n", 1)[1]
    assert TABLE.basis.endswith(sha256(lines).hexdigest()[:12])


# --- sums ------------------------------------------------------------------------------------------------------------

counts = st.integers(0, 2**40)
tokens = st.builds(Tokens, **dict.fromkeys(CLASSES, counts))
usd = st.decimals(0, 1_000, places=18).filter(lambda price: price.is_finite())
rates = st.fixed_dictionaries(dict.fromkeys(CLASSES, usd))


@st.composite
def any_price(draw: st.DrawFn, *, steps: bool = True) -> Price:
    """A price with a rate for every class; more input costs more."""
    tables = [draw(rates)]
    starts = sorted(draw(st.sets(st.integers(1, 10**6), max_size=2))) if steps else []
    for _ in starts:
        more = draw(rates)
        tables.append({name: max(tables[-1][name], more[name]) for name in CLASSES})
    per = whole_per(price for table in tables for price in table.values())
    base, *others = [rates_of({name: rate(price, per) for name, price in table.items()}) for table in tables]
    return Price("lab", "model", "basis", base, per, tuple(zip(starts, others, strict=True)))


def cost(price: Price, tokens: Tokens) -> int:
    found = price.cost(tokens)
    assert found is not None
    return found


@given(usd, st.integers(1, 5))
def test_a_rate_is_exact(price: Decimal, times: int) -> None:
    per = whole_per([price]) * times
    assert Decimal(rate(price, per)) / per == price.scaleb(6) or rate(price, per) * 10**18 == per * int(
        price.scaleb(24)
    )


@given(any_price(steps=False), tokens, tokens)
def test_a_cost_is_additive_but_for_the_last_digit(price: Price, one: Tokens, other: Tokens) -> None:
    both, apart = cost(price, one.plus(other)), cost(price, one) + cost(price, other)
    assert both == apart if price.per == 1 else 0 <= apart - both <= 1


@given(any_price(), tokens, tokens)
def test_more_tokens_never_cost_less(price: Price, some: Tokens, more: Tokens) -> None:
    assert cost(price, some) <= cost(price, some.plus(more))


@given(any_price(), tokens)
def test_a_cost_is_the_least_whole_number_that_pays_for_it(price: Price, tokens: Tokens) -> None:
    rates = [price.rates, *(more for start, more in price.above if tokens.whole_input > start)][-1]
    exact = sum(count * getattr(rates, name) for name, count in tokens._asdict().items())
    assert cost(price, tokens) * price.per >= exact
    assert exact == 0 or exact > (cost(price, tokens) - 1) * price.per


@given(any_price(), tokens, st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_bound_is_enough_for_any_split_of_as_many_tokens_or_fewer(
    price: Price, tokens: Tokens, input_left: int, output_left: int
) -> None:
    most = price.bound(tokens.whole_input + input_left, tokens.whole_output + output_left, searches=tokens.searches)
    assert most >= cost(price, tokens)
    assert price.search_cost(tokens.searches) <= cost(price, tokens)


@settings(max_examples=300)
@given(st.data(), tokens)
def test_the_tables_bounds_are_enough_whichever_tier_serves(data: st.DataObject, tokens: Tokens) -> None:
    price = data.draw(st.sampled_from(_SOME))
    whole = tokens.whole_input, tokens.whole_output
    for tier in (None, "default", *price.service_tiers):
        spent = price.cost(tokens, tier)
        if spent is not None:
            assert price.bound(*whole, None, tokens.searches) >= spent
            assert price.bound(*whole, tier or "auto", tokens.searches) >= spent


_SOME = [
    found(Prices(), *name.partition("/")[::2])
    for name in (
        "openai/gpt-6-sol", "openai/gpt-5", "openai/gpt-audio", "anthropic/claude-opus-5", "anthropic/claude-haiku-5-5",
        "openrouter/google/gemini-3.8-flash", "xai/grok-4.5", "groq/qwen/qwen3-32b",
    )
]  # fmt: skip


def test_a_bound_has_room_for_searches_where_a_model_makes_them_unasked() -> None:
    table = {"input": 0, "output": 0, "searches": 5}
    prices = stated(
        **{
            "lab/m": table,
            "lab/m-search-preview": table,
            "lab/sonar": table,
            "lab/free-search": {**table, "searches": 0},
        }
    )
    bounds = {
        name: found(prices, "lab", name).bound(9, 9) for name in ("m", "m-search-preview", "sonar", "free-search")
    }
    most = MAX_SEARCHES * 5 * 10**9
    assert bounds == {"m": 0, "m-search-preview": most, "sonar": most, "free-search": 0}


def test_a_bound_without_other_tiers_is_for_those_who_asked_for_the_standard_one() -> None:
    price = found(Prices())
    assert price.bound(1_000, 0, "default") == 1_250_000_000
    assert price.bound(1_000, 0, "flex") == 1_250_000_000
    assert price.bound(1_000, 0, "priority") == price.bound(1_000, 0) == 2_500_000_000


@pytest.mark.parametrize("name", ["input_audio", "output_audio", "output_image", "cache_write_1h", "searches"])
def test_tokens_of_a_class_without_a_price_make_the_cost_unknown(name: str) -> None:
    price = found(stated(**{"lab/m": {"input": 1, "output": 2, "cache_write": 1}}), "lab", "m")
    assert price.cost(Tokens(5, 5)) == 15_000_000
    assert price.cost(Tokens(5, 5)._replace(**{name: 1})) is None


def test_classes_that_are_a_part_of_another_cost_what_it_does() -> None:
    price = found(stated(**{"lab/m": {"input": 1, "output": 2}}), "lab", "m")
    assert (
        price.cost(Tokens(1, 1, cache_read=1, cache_write=1, cache_write_1h=1, input_image=1, reasoning=1)) == 9 * 10**6
    )
    assert set(Tokens._fields) == set(CLASSES)


# --- [prices] --------------------------------------------------------------------------------------------------------


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "gateway.toml"


def test_the_operators_tables_are_read_to_the_last_digit(toml: Path) -> None:
    toml.write_text(
        """
        [prices."openai/gpt-5"]
        input = 0.1
        cache_read = "0.000000000000000001"
        output = 8
        searches = 10
        [prices."openai/gpt-5".service_tiers.priority]
        input = 1
        output = 1
        [[prices."openai/gpt-5".above]]
        tokens = 200_000
        input = 5
        output = 8
        [[prices."openai/gpt-5".above]]
        tokens = 100_000
        input = 4
        output = 8
        """
    )
    price = found(Prices(read_settings(read_sources()).prices))
    assert price.cost(Tokens(10)) == 1_000_000
    assert price.cost(Tokens(10, searches=3)) == 1_000_000 + 3 * 10**10
    assert price.search_cost(3) == 3 * 10**10
    assert [price.cost(Tokens(cache_read=count)) for count in (0, 1, 100_000)] == [0, 1, 1]
    assert price.cost(Tokens(10, 10), "priority") == 20_000_000
    assert price.cost(Tokens(10, 10), "flex") == price.cost(Tokens(10, 10))
    assert [price.cost(Tokens(size)) for size in (100_000, 100_001, 200_000, 200_001)] == [
        100_000 * 100_000, 100_001 * 4_000_000, 200_000 * 4_000_000, 200_001 * 5_000_000,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("input = -1\noutput = 1", "input: -1: has to be a number of USD for a million tokens, from 0 to 1000000"),
        ("input = 1e7\noutput = 1", "prices.openai/gpt-5.input: 10000000.0: has to be a number of USD"),
        ("input = nan\noutput = 1", "prices.openai/gpt-5.input: nan: has to be a number of USD"),
        ("input = inf\noutput = 1", "prices.openai/gpt-5.input: inf: has to be a number of USD"),
        ("input = true\noutput = 1", "prices.openai/gpt-5.input: true: has to be a number of USD"),
        ("input = 'free'\noutput = 1", "prices.openai/gpt-5.input: 'free': has to be a number of USD"),
        ("input = []\noutput = 1", "prices.openai/gpt-5.input: has to be a number of USD"),
        ("input = '1e-19'\noutput = 1", "prices.openai/gpt-5.input: '1e-19': has more than 18 decimal places"),
        ("input = 1", "prices.openai/gpt-5.output: is missing"),
        ("input = 1\noutput = 1\ncached = 1", "prices.openai/gpt-5: unknown setting cached: did you mean cache_read?"),
        ("input = 1\noutput = 1\n[[prices.'openai/gpt-5'.above]]\ninput = 1\noutput = 1", "above.0.tokens: is missing"),
        ("input = 1\noutput = 1\n[prices.'openai/gpt-5'.service_tiers.flex]\ninput = 1", "flex.output: is missing"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_stops_the_start_and_says_why(toml: Path, text: str, problem: str) -> None:
    toml.write_text(f"[prices.'openai/gpt-5']\n{text}\n")
    with pytest.raises(SettingsError) as caught:
        read_settings(read_sources())
    assert problem in str(caught.value)
    assert "gateway.toml" in str(caught.value)


@pytest.mark.parametrize("key", ["gpt-5", "/gpt-5", "openai/", ""])
def test_a_price_has_to_name_a_provider_and_a_model(toml: Path, key: str) -> None:
    toml.write_text(f"[prices.'{key}']\ninput = 1\noutput = 1\n")
    with pytest.raises(SettingsError, match="has to name a provider and a model, as in"):
        read_settings(read_sources())


def test_a_price_for_a_provider_that_there_is_not_is_a_warning(toml: Path) -> None:
    toml.write_text("[prices.'opnai/gpt-5']\ninput = 1\noutput = 1\n[prices.'custom/*']\ninput = 1\noutput = 1\n")
    warnings = [line for line in read_configuration().warnings if line.startswith("prices.")]
    assert warnings == ["prices.opnai/gpt-5: there is no such provider: did you mean openai?"]
