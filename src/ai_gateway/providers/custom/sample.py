"""Generates a value that satisfies a JSON Schema: the same schema and seed give the same value.

Supported are the keywords that describe data (types, bounds, sizes, patterns, formats, properties, items, `enum`,
`const`, `default`), local references, recursion, and `allOf`, `anyOf`, `oneOf`, `if`, `not`. Any other input, even an
invalid one, gives a best effort; size and work are always bounded, and a schema that takes more work is refused.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from pydantic import JsonValue

from ai_gateway.providers.custom import scalars
from ai_gateway.providers.custom.check import Checker
from ai_gateway.providers.custom.dice import Dice
from ai_gateway.providers.custom.place import (
    Fork,
    allowed_values,
    default_values,
    forks,
    hinted_types,
    is_null,
    keys_in,
    longest_prefix,
    named_properties,
    types,
)
from ai_gateway.providers.custom.schema import (
    SCALARS,
    Document,
    Parts,
    Schema,
    item_schemas,
    limit,
    names_in,
    number_in,
)
from ai_gateway.providers.custom.work import Work

_MAX_ITEMS = 64
"""The most items or properties of a value, even if `minItems` or `minProperties` require more."""

_VALUES = 2_000
_MAKING = 50
"""The work of generating one value, without its parts."""

_MAX_CALL_DEPTH = 40
_FULL_DEPTH = 4
"""Down to this level optional properties and items are generated; below, only required ones."""

_ATTEMPTS = 8
_UNIQUE_ATTEMPTS = 50

OBJECT: Schema = {"type": "object"}


def instance(schema: JsonValue, seed: str, work: Work | None = None) -> JsonValue:
    """A value that satisfies the schema, or comes close if a bounded search finds none."""
    return _sampled(schema, [schema], seed, work or Work())


def object_instance(schema: JsonValue, seed: str, work: Work | None = None) -> JsonValue:
    """The same, but an object if the schema allows one."""
    work = work or Work()
    value = _sampled(schema, [schema, OBJECT], seed, work)
    if isinstance(value, dict) and Checker(Document(schema, work)).holds(value, schema):
        return value
    return instance(schema, seed, work)


def _sampled(root: JsonValue, schemas: Sequence[JsonValue], seed: str, work: Work) -> JsonValue:
    value: JsonValue = None
    for attempt in range(_ATTEMPTS):
        sampler = _Sampler(root, Dice(f"{seed}/{attempt}" if attempt else seed), work)
        value = sampler.value(schemas, 0)
        if sampler.holds(value, schemas):
            break
    return value


class _Sampler:
    """One attempt at one schema document."""

    def __init__(self, root: JsonValue, dice: Dice, work: Work) -> None:
        self._work = work
        self._document = Document(root, work)
        self._checker = Checker(self._document)
        self._dice = dice
        self._values = 0
        self._calls = 0

    def holds(self, value: JsonValue, schemas: Sequence[JsonValue]) -> bool:
        return all(self._checker.holds(value, schema) for schema in schemas)

    def value(self, schemas: Sequence[JsonValue], depth: int, taken: frozenset[int] = frozenset()) -> JsonValue:
        """A value that satisfies all these schemas; the branches of the `taken` forks are among them already."""
        self._values += 1
        self._work.spend(_MAKING)
        if self._values > _VALUES or self._calls > _MAX_CALL_DEPTH:
            return None
        self._calls += 1
        try:
            return self._value(self._document.flatten(schemas), depth, taken)
        finally:
            self._calls -= 1

    def _value(self, parts: Parts, depth: int, taken: frozenset[int]) -> JsonValue:
        for default in default_values(parts):
            if self.holds(default, parts):
                return default
        fork = next((fork for fork in forks(parts) if fork.origin not in taken), None)
        if fork is not None:
            return self._branched(fork, parts, depth, taken)
        allowed = allowed_values(parts)
        if allowed is not None:
            return self._first_valid(parts, iter(self._dice.shuffled(allowed)))
        if any("not" in part for part in parts):
            return self._first_valid(parts, (self._built(parts, depth) for _ in range(_ATTEMPTS)))
        return self._built(parts, depth)

    def _first_valid(self, parts: Parts, candidates: Iterator[JsonValue]) -> JsonValue:
        """The first valid candidate, or else the first of all. Candidates are generated lazily."""
        first = candidate = next(candidates, None)
        while not self.holds(candidate, parts):
            try:
                candidate = next(candidates)
            except StopIteration:
                return first
        return candidate

    def _branched(self, fork: Fork, parts: Parts, depth: int, taken: frozenset[int]) -> JsonValue:
        deeper = taken | {fork.origin}
        rounds = 3 if fork.keyword == "oneOf" else 1  # a value may match two branches by accident
        branches = self._ordered(fork.branches, depth) * rounds
        return self._first_valid(parts, (self.value([*parts, *branch], depth, deeper) for branch in branches))

    def _ordered(self, branches: Sequence[Sequence[JsonValue]], depth: int) -> list[Sequence[JsonValue]]:
        """A random order; infinite branches and null come last, and at deep levels the flattest comes first."""
        heights = {id(branch): self._document.height(branch) for branch in branches}

        def rank(branch: Sequence[JsonValue]) -> tuple[bool, float, bool]:
            height = heights[id(branch)]
            return height == float("inf"), height if self._is_minimal(depth) else 0, is_null(branch)

        return sorted(self._dice.shuffled(branches), key=rank)

    def _is_minimal(self, depth: int) -> bool:
        return depth >= _FULL_DEPTH or self._values > _VALUES // 4

    def _built(self, parts: Parts, depth: int) -> JsonValue:
        match self._kind(parts, depth):
            case "object":
                return self._object(parts, depth)
            case "array":
                return self._array(parts, depth)
            case kind:
                return scalars.scalar(kind, parts, self._dice, self._work)

    def _kind(self, parts: Parts, depth: int) -> str:
        """One of the types that all parts allow: one that other keywords imply, else any but null."""
        kinds = types(parts)
        hinted = hinted_types(parts)
        if self._is_minimal(depth) and kinds & SCALARS:
            kinds &= SCALARS
        if not kinds:
            return hinted[0] if hinted else "string"
        fitting = [kind for kind in hinted if kind in kinds] or sorted(kinds - {"null"}) or ["null"]
        return self._dice.pick(fitting)

    def _object(self, parts: Parts, depth: int) -> JsonValue:
        required = {name for part in parts for name in names_in(part, "required")[:_VALUES]}
        most = limit(parts, "maxProperties", min)
        value: dict[str, JsonValue] = {}
        optional = 0 if self._is_minimal(depth) else _MAX_ITEMS
        if most is not None:
            optional = min(optional, max(int(most) - len(required), 0))
        for name in dict.fromkeys([*named_properties(parts), *sorted(required)]):
            if name in required:
                value[name] = self.value(self._document.property_schemas(parts, name), depth + 1)
            elif optional > 0:
                optional -= self._add_optional(value, name, parts, depth)
        self._add_further(value, parts, depth)
        return value

    def _add_optional(self, value: dict[str, JsonValue], name: str, parts: Parts, depth: int) -> bool:
        """Whether the property was added: it is left out if it is infinite or has no valid value."""
        schemas = self._document.property_schemas(parts, name)
        if self._document.height(schemas) == float("inf") or not self._is_property_name(name, parts):
            return False
        generated = self.value(schemas, depth + 1)
        if not self.holds(generated, schemas):
            return False
        value[name] = generated
        return True

    def _add_further(self, value: dict[str, JsonValue], parts: Parts, depth: int) -> None:
        """Properties without a name in the schema: as many as `minProperties` requires, or one for a map."""
        least = _size(limit(parts, "minProperties") or Fraction(0))
        is_map = any(isinstance(part.get("additionalProperties"), dict) for part in parts)
        if is_map and not value and not self._is_minimal(depth) and limit(parts, "maxProperties", min) != 0:
            least = max(least, 1)
        for name in self._further_names(parts, least):
            if len(value) >= least:
                return
            if name not in value:
                self._add_optional(value, name, parts, depth)

    def _further_names(self, parts: Parts, least: int) -> Iterator[str]:
        patterns = [expression for part in parts for expression in keys_in(part, "patternProperties")]
        names = [part["propertyNames"] for part in parts if "propertyNames" in part]
        for index in range(2 * least):
            yield f"key_{index + 1}"
            for expression in patterns[:_MAX_ITEMS]:
                yield scalars.string([{"pattern": expression}], self._dice, self._work)
            if names:
                yield str(self.value([*names, {"type": "string"}], _FULL_DEPTH))

    def _is_property_name(self, name: str, parts: Parts) -> bool:
        return all(self._checker.holds(name, part["propertyNames"]) for part in parts if "propertyNames" in part)

    def _array(self, parts: Parts, depth: int) -> JsonValue:
        least, count = self._counts(parts, depth)
        unique = any(part.get("uniqueItems") is True for part in parts)
        value: list[JsonValue] = []
        seen: set[str] = set()
        for index in range(count):
            item = self._item(parts, index, depth, seen if unique else set())
            if index >= least and not self.holds(item, item_schemas(parts, index)):
                break
            if unique and self._checker.canonical(item) in seen and index >= least:
                break
            seen.add(self._checker.canonical(item))
            value.append(item)
        return value

    def _counts(self, parts: Parts, depth: int) -> tuple[int, int]:
        """The required number of items, and the number to try."""
        contained = [_contained(part) for part in parts if "contains" in part]
        least = _size(max([limit(parts, "minItems") or Fraction(0), *contained]))
        endless = self._document.height(item_schemas(parts, least)) == float("inf")
        if endless or self._is_minimal(depth):
            return least, least
        most = limit(parts, "maxItems", min)
        target = max(least, longest_prefix(parts), 1 + self._dice.below(2))
        return least, min(target, _MAX_ITEMS if most is None else max(_size(most), least))

    def _item(self, parts: Parts, index: int, depth: int, seen: set[str]) -> JsonValue:
        """An item; a new one, if a bounded search finds it."""
        contained = [part["contains"] for part in parts if "contains" in part and index < _contained(part)]
        schemas = [*item_schemas(parts, index), *contained]
        item = self.value(schemas, depth + 1)
        for _ in range(_UNIQUE_ATTEMPTS):
            if self._checker.canonical(item) not in seen:
                break
            item = self.value(schemas, depth + 1)
        return item


def _size(wanted: Fraction) -> int:
    return int(max(min(wanted, Fraction(_MAX_ITEMS)), Fraction(0)))


def _contained(part: Schema) -> Fraction:
    """The number of items that must match `contains`."""
    least = number_in(part, "minContains")
    return Fraction(1) if least is None else least
