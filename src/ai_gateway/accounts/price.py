"""The price of a model, and the cost of tokens by it, in whole numbers of 1e-12 USD."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import compress
from math import gcd, lcm, sumprod

from ai_gateway.contract.tokens import Tokens

INPUT = ("input", "cache_read", "cache_write", "cache_write_1h", "input_audio", "input_image")
OUTPUT = ("output", "reasoning", "output_audio", "output_image")
SEARCHES = "searches"
MAX_SEARCHES = 20
"""The assumed maximum of an upstream's searches for a request. Vendors state none, but Anthropic's `max_uses`."""
_MILLIONTH = 10**6  # of a USD, in 1e-12 USD: the price of a token if a million cost 1 USD
# The service tiers in replies that have the standard price.
_STANDARD = frozenset({None, "", "auto", "default", "standard", "on_demand"})
# Classes that are a part of another one, whose rate they have if a source states none for them. The others cost many
# times as much as text, or twice as much as a shorter time in the cache: without a rate their cost is unknown.
_PART_OF = {"cache_read": "input", "cache_write": "input", "input_image": "input", "reasoning": "output"}

_ONLY_TEXT = Tokens()[2:]
_sum_of_products: Callable[[Iterable[int], Iterable[int]], int] = sumprod  # type: ignore[assignment]  # exact for these


@dataclass(frozen=True, slots=True)
class Rates:
    """The price of tokens of each class, and of searches, in 1e-12 USD for `Price.per` of them.

    `unknown` names classes without a known rate, which is 0 here.
    """

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    input_image: int
    reasoning: int
    output_audio: int
    output_image: int
    searches: int
    unknown: tuple[str, ...] = ()
    _each: tuple[int, ...] = field(init=False, repr=False, compare=False)  # in the order of tokens
    _lacks: tuple[bool, ...] | None = field(init=False, repr=False, compare=False)
    _highest_input: int = field(init=False, repr=False, compare=False)
    _highest_output: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_each", tuple(getattr(self, name) for name in Tokens._fields))
        lacks = tuple(name in self.unknown for name in Tokens._fields) if self.unknown else None
        object.__setattr__(self, "_lacks", lacks)
        object.__setattr__(self, "_highest_input", max(getattr(self, name) for name in INPUT))
        object.__setattr__(self, "_highest_output", max(getattr(self, name) for name in OUTPUT))

    def cost(self, tokens: Tokens) -> int | None:
        """The sum of all classes; None if there are tokens of a class with an unknown rate."""
        if self._lacks is not None and any(compress(tokens, self._lacks)):
            return None
        return _sum_of_products(tokens, self._each)

    @property
    def highest(self) -> tuple[int, int]:
        """The rate of the most expensive class of input, and of output."""
        return self._highest_input, self._highest_output

    def bound(self, input_tokens: int, output_tokens: int, searches: int) -> int:
        """The sum if every token were of the most expensive class."""
        return input_tokens * self._highest_input + output_tokens * self._highest_output + searches * self.searches


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one model at one time.

    `basis` names its source, so that a cost can be recomputed. `above` has other rates for requests with more input
    tokens than a threshold, in rising order, which apply to all tokens of such a request. `service_tiers` has the
    prices of tiers with their own price. The price of any other tier is unknown, unless this one is for
    `every_tier`.
    """

    provider: str
    model: str
    basis: str
    rates: Rates
    per: int = 1
    above: tuple[tuple[int, Rates], ...] = ()
    service_tiers: Mapping[str, "Price"] = field(default_factory=dict)
    every_tier: bool = False
    _is_plain: bool = field(init=False, repr=False, compare=False)
    _of_text: tuple[int, int] | None = field(init=False, repr=False, compare=False)
    _highest: tuple[int, int] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        searches = self.rates.searches and ("search" in self.model or "sonar" in self.model)
        object.__setattr__(self, "_is_plain", not (searches or self.above or self.service_tiers))
        # Nearly all requests have only text, whose rates are always known, and most prices one rate for each direction.
        is_simple = self.per == 1 and not self.above
        object.__setattr__(self, "_of_text", (self.rates.input, self.rates.output) if is_simple else None)
        highest = self.rates.highest if is_simple and self._is_plain else None
        object.__setattr__(self, "_highest", highest)

    def cost(self, tokens: Tokens, service_tier: str | None = None) -> int | None:
        """The cost of tokens in the tier that served them; None if it is unknown.

        Rounded up to 1e-12 USD; fractions exist only if `per` is more than 1.
        """
        if service_tier in _STANDARD:
            if self._of_text is not None and tokens[2:] == _ONLY_TEXT:
                read, made = self._of_text
                return tokens[0] * read + tokens[1] * made
            return self._cost(tokens)
        served = self.service_tiers.get(service_tier or "", self if self.every_tier else None)
        return None if served is None else served._cost(tokens)

    def search_cost(self, searches: int) -> int:
        """The part of a call's cost that is for its searches, in any tier."""
        return searches * self.rates.searches // self.per

    def _cost(self, tokens: Tokens) -> int | None:
        rates = self.rates
        if self.above:
            size = tokens.whole_input
            for start, more in self.above:
                if size > start:
                    rates = more
        total = rates.cost(tokens)
        return total if total is None or self.per == 1 else -(-total // self.per)

    def bound(self, input_tokens: int, output_tokens: int, service_tier: str | None = None, searches: int = 0) -> int:
        """The maximum cost of so many tokens and searches, of any class.

        Some models search unrequested: OpenAI's and Perplexity's, by their names.

        `service_tier` is the requested one. Without one, or with "auto", the upstream may choose any; with another one,
        it may still choose the standard one.
        """
        if self._highest is not None and not searches:
            read, made = self._highest
            return input_tokens * read + output_tokens * made
        if self._is_plain:
            return -(-self.rates.bound(input_tokens, output_tokens, searches) // self.per)
        if not searches and self.rates.searches and ("search" in self.model or "sonar" in self.model):
            searches = MAX_SEARCHES
        most = self._bound(input_tokens, output_tokens, searches)
        for name, price in self.service_tiers.items():
            if service_tier in {None, "auto", name}:
                most = max(most, price._bound(input_tokens, output_tokens, searches))
        return most

    def _bound(self, input_tokens: int, output_tokens: int, searches: int) -> int:
        most = self.rates.bound(input_tokens, output_tokens, searches)
        for start, rates in self.above:
            if input_tokens > start:
                most = max(most, rates.bound(input_tokens, output_tokens, searches))
        return -(-most // self.per)


def rates_of(stated: Mapping[str, int]) -> Rates:
    """The rates of every class from those that a source states. Without `output`, the model has no output tokens."""
    rates = {"input": stated["input"], "output": stated.get("output", 0)}
    for name, whole in _PART_OF.items():
        rates[name] = stated.get(name, rates[whole])
    if "cache_write" not in stated:  # if writing is free, its duration does not matter
        rates["cache_write_1h"] = rates["input"]
    rates |= {name: value for name, value in stated.items() if name not in rates}
    unknown = tuple(name for name in (*INPUT, *OUTPUT, SEARCHES) if name not in rates)
    return Rates(**rates, **dict.fromkeys(unknown, 0), unknown=unknown)


def whole_per(prices: Iterable[Decimal]) -> int:
    """The smallest `per` for which each price, in USD per million tokens, is a whole number of 1e-12 USD."""
    denominators = (price.as_integer_ratio()[1] for price in prices)
    return lcm(*(denominator // gcd(denominator, _MILLIONTH) for denominator in denominators))


def rate(price: Decimal, per: int) -> int:
    """A price in USD per million tokens as the rate of `per` tokens. Exact if `per` comes from `whole_per`."""
    numerator, denominator = price.as_integer_ratio()
    return numerator * _MILLIONTH * per // denominator
