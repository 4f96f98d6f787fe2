"""genai-prices read as rows of our table: exact ids only, every number as it stands there.

The package is by Pydantic, under the MIT licence. It recognises models by clauses, some of which are prefixes or parts
of a name: these are guesses, and none is taken over. An id is known if a clause has it as a whole, if it is the
source's own name of a model, or if `ids.toml` lists it; and only if the source itself would price it as that model.
"""

import datetime
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path

from genai_prices.data import providers as source_providers
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from ai_gateway.accounts.price import rate, whole_per
from ai_gateway.accounts.price_table import Row

NAME = f"genai-prices-{version('genai-prices')}"
LICENCE = "MIT, Copyright (c) 2025 to present Pydantic Services Inc. and individual contributors"
IDS = Path(__file__).with_name("ids.toml")


@dataclass(frozen=True)
class Origin:
    """Where a provider's prices stand in the source, and how its ids are made from those there.

    `form` holds the id in place of `{}`; `only` are the beginnings of ids that this provider has. `same` names service
    tiers that cost what the standard one does, by the vendor's own pages.
    """

    provider: str
    source: str
    form: str = "{}"
    only: tuple[str, ...] = ("",)
    same: tuple[str, ...] = ()


# A provider without a line here is not in the source, or has ids that operators choose: the deployments of Azure, and
# every server of one's own.
ORIGINS = (
    Origin("openai", "openai"),
    Origin("anthropic", "anthropic"),
    Origin("openrouter", "openrouter"),
    Origin("fireworks", "fireworks"),
    Origin("groq", "groq", same=("flex",)),  # console.groq.com/docs/flex-processing
    Origin("together", "together"),
    Origin("mistral", "mistral"),
    Origin("deepseek", "deepseek"),
    # ai.google.dev/gemini-api/docs/openai: its list of models has them with a prefix that requests may leave out.
    Origin("gemini", "google", only=("gemini", "gemma")),
    Origin("gemini", "google", "models/{}", only=("gemini", "gemma")),
    Origin("bedrock", "aws"),
    # cloud.google.com/vertex-ai/generative-ai/docs: the OpenAI-compatible endpoint has them under their publisher.
    Origin("vertex", "google", "google/{}", only=("gemini", "gemma")),
    Origin("xai", "x-ai"),
    Origin("cohere", "cohere"),
    Origin("perplexity", "perplexity"),
    # huggingface.co/docs/inference-providers: a suffix chooses who answers, and so whose price it is.
    *(
        Origin("huggingface", f"huggingface_{who}", f"{{}}:{who}")
        for who in (
            *("cerebras", "fireworks-ai", "groq", "hyperbolic", "nebius", "novita", "nscale", "ovhcloud", "publicai"),
            *("sambanova", "together"),
        )
    ),
    Origin("cloudflare", "cloudflare"),
    Origin("databricks", "databricks", only=("databricks-",)),  # other endpoints are the operator's own
    Origin("moonshot", "moonshotai"),
    Origin("zai", "zai"),
    Origin("minimax", "minimax"),
    Origin("cerebras", "cerebras"),
)
# The source's names of units, by our classes of tokens.
_CLASSES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "input_image_mtok": "input_image",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "web_searches_kcount": "searches",
}
# Fees for what a caller may use beside tokens, and tokens that no reply counts apart: a price is good without them.
_BESIDE = frozenset(
    {
        "storage_searches_kcount",
        "cache_audio_read_mtok",
        "cache_image_read_mtok",
        "input_video_mtok",
        "output_video_mtok",
    }
)
_TIER_KEYS = ("service_tier", "speed")  # `speed` is Anthropic's name for it
_DAY = 24 * 60

type Rates = dict[str, Decimal]


class Unpriced(Exception):
    """A model whose price is not one of tokens; the message is the reason, as the report shows it."""


@dataclass
class Taken:
    """What was made of the source. `left` has the ids, or names of models, that were not taken, by reason."""

    entries: dict[str, str | list[Row]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


@cache
def take() -> Taken:
    """Every price that can be taken as it stands."""
    taken = Taken()
    by_name = {provider.id: provider for provider in source_providers}
    listed = tomllib.loads(IDS.read_text(encoding="utf-8"))
    for origin in ORIGINS:
        taken.entries.update(_models(origin, by_name[origin.source], listed.get(origin.source, {}), taken.left))
    return taken


def _models(
    origin: Origin, provider: Provider, listed: Mapping[str, list[str]], left: dict[str, list[str]]
) -> Iterator[tuple[str, str | list[Row]]]:
    for model in provider.models:
        try:
            rows = [with_tiers(row, origin.same) for row in rows_of(model)]
        except Unpriced as reason:
            left[str(reason)].append(f"{origin.provider}/{model.id}")
            continue
        if is_guess(model.match):
            left["recognised by a part of the id as well, which is not taken over"].append(
                f"{origin.provider}/{model.id}"
            )
        first: str | None = None
        for name in ids_of(model, listed.get(model.id, [])):
            if not name.startswith(origin.only):
                continue
            if provider.find_model(name) is not model:
                left["an id that the source does not know, or as another model"].append(f"{origin.provider}/{name}")
                continue
            known = f"{origin.provider}/{origin.form.format(name)}"
            yield known, rows if first is None else first
            first = first or known


def ids_of(model: ModelInfo, listed: Iterable[str]) -> list[str]:
    """The exact ids of a model, in lower case, as the source compares them."""
    own = [model.id] if _is_id(model.id) else []
    return list(dict.fromkeys(name.lower() for name in [*own, *equal_to(model.match), *listed]))


def _is_id(name: str) -> bool:
    """Whether the source's name of a model is an id, and not one that it has made up for a group."""
    return not name.startswith(("regional.", "ft:")) and not name.endswith("-")


def equal_to(clause: MatchLogic) -> list[str]:
    """The ids that a clause has as a whole."""
    if isinstance(clause, ClauseEquals):
        return [clause.equals]
    if isinstance(clause, ClauseOr):
        return [name for part in clause.or_ for name in equal_to(part)]
    return []


def is_guess(clause: MatchLogic) -> bool:
    """Whether a clause may hold for an id that it does not have as a whole."""
    if isinstance(clause, ClauseOr):
        return any(is_guess(part) for part in clause.or_)
    return not isinstance(clause, ClauseEquals)


def rows_of(model: ModelInfo) -> list[Row]:
    """The price from each date on at which it changed, the first one without a date. Raises Unpriced."""
    dated = model.prices if isinstance(model.prices, list) else [ConditionalPrice(prices=model.prices)]
    tiers = {name: variants for name, variants in _tiers(model.price_variants or ()).items() if name}
    variants = [variant for many in tiers.values() for variant in many]
    constraints = [*(each.constraint for each in dated), *(variant.constraint for variant in variants)]
    dates = sorted({each.start_date for each in constraints if isinstance(each, StartDateConstraint)})
    edges = sorted({edge for each in dated for edge in _edges(each.constraint)})
    rows: list[Row] = []
    for since in (None, *dates):
        row = _row(model.id, _standard(dated, since, None), tiers, since)
        if edges:
            row["hours"] = [
                (start, end, other)
                for start, end in zip([0, *edges], [*edges, _DAY], strict=True)
                if (other := _row(model.id, _standard(dated, since, start), tiers, since)) != row and start < end
            ]
            if not row["hours"]:
                del row["hours"]
        if not rows or rows[-1] != {**row, **({"since": rows[-1]["since"]} if "since" in rows[-1] else {})}:
            rows.append(row if since is None else {"since": since.isoformat(), **row})
    return rows


def with_tiers(row: Row, same: Iterable[str]) -> Row:
    """The row with these tiers at its own price, unless it has another one for them."""
    plain = Row(**{key: value for key, value in row.items() if key in {"rates", "per", "above"}})  # type: ignore[typeddict-item]
    tiers = {**dict.fromkeys(same, plain), **row.get("tiers", {})}
    return {**row, "tiers": tiers} if tiers else row


def _tiers(variants: Iterable[PriceVariant]) -> dict[str, list[PriceVariant]]:
    """The prices of service tiers by name. Others are those of batches, routes and kinds of search."""
    tiers: dict[str, list[PriceVariant]] = defaultdict(list)
    for variant in variants:
        if len(variant.when) == 1 and (key := next(iter(variant.when))) in _TIER_KEYS and variant.prices.__dict__:
            tiers[variant.when[key]].append(variant)
    return tiers


def _edges(constraint: StartDateConstraint | TimeOfDateConstraint | None) -> Iterator[int]:
    if isinstance(constraint, TimeOfDateConstraint):
        for time in (constraint.start_time, constraint.end_time):
            if time.utcoffset():
                raise ValueError("a time of day that is not UTC")
            yield time.hour * 60 + time.minute


def _is_active(
    constraint: StartDateConstraint | TimeOfDateConstraint | None, since: datetime.date | None, minute: int | None
) -> bool:
    """Whether it holds from that day on, in a minute of it; None is a minute without a price of its own."""
    if constraint is None:
        return True
    if isinstance(constraint, StartDateConstraint):
        return since is not None and constraint.start_date <= since
    moment = datetime.datetime.combine(since or datetime.date.min, datetime.time(0), datetime.UTC)
    return minute is not None and constraint.active(moment + datetime.timedelta(minutes=minute))


def _standard(dated: list[ConditionalPrice], since: datetime.date | None, minute: int | None) -> ModelPrice:
    """The last one that holds: ModelInfo.get_prices of the source."""
    active = [each.prices for each in dated if _is_active(each.constraint, since, minute)]
    return active[-1] if active else dated[0].prices


def _row(name: str, standard: ModelPrice, tiers: Mapping[str, list[PriceVariant]], since: datetime.date | None) -> Row:
    row = _plain(name, standard.__dict__)
    others: dict[str, Row] = {}
    for tier, variants in tiers.items():
        active = [each.prices.__dict__ for each in variants if _is_active(each.constraint, since, None)]
        if active:
            overrides: dict[str, Decimal | TieredPrices] = {}
            for prices in reversed(active):  # the first one counts, for each unit by itself
                overrides |= prices
            others[tier] = _plain(name, {**standard.__dict__, **overrides})
    if others:
        row["tiers"] = others
    return row


def _plain(name: str, units: Mapping[str, Decimal | TieredPrices | None]) -> Row:
    """Rates without any condition but the size of the input."""
    prices = {unit: price for unit, price in units.items() if price is not None}
    if not prices and name.endswith(":free"):  # openrouter.ai/docs: what the suffix means
        prices = {"input_mtok": Decimal(0), "output_mtok": Decimal(0)}
    if not prices:
        raise Unpriced("the source has no price")
    unknown = sorted(prices.keys() - _CLASSES.keys() - _BESIDE)
    if unknown or "input_mtok" not in prices:
        raise Unpriced(f"priced by more than tokens: {', '.join(unknown) or 'no price of input'}")
    starts = sorted(
        {tier.start for price in prices.values() if isinstance(price, TieredPrices) for tier in price.tiers}
    )
    steps = [_at(prices, start) for start in (None, *starts)]
    per = whole_per(price for step in steps for price in step.values())
    whole = [{unit: rate(price, per) for unit, price in step.items()} for step in steps]
    row = Row(rates=whole[0])
    if per > 1:
        row["per"] = per
    if starts:
        row["above"] = list(zip(starts, whole[1:], strict=True))
    return row


def _at(prices: Mapping[str, Decimal | TieredPrices], size: int | None) -> Rates:
    """The prices by class for requests with more input than `size`."""
    rates: Rates = {}
    for unit, price in prices.items():
        if unit not in _CLASSES:
            continue
        if isinstance(price, TieredPrices):
            steps = [tier.price for tier in price.tiers if size is not None and tier.start <= size]
            stated = steps[-1] if steps else price.base
        else:
            stated = price
        rates[_CLASSES[unit]] = stated * 1_000 if unit.endswith("_kcount") else stated
    return rates
