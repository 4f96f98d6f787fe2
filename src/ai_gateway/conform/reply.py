"""Make one reply or chunk exact, where that takes no guessing, and name the rules it took.

One that is exact costs one validation. Any other is repaired by the rules for its kind and by what the model itself
says may be null or absent; what is still wrong then makes it invalid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ai_gateway.conform.large import is_large, parts_of
from ai_gateway.conform.objects import REPAIRS, ReplyContext
from ai_gateway.conform.rules import DROP_INVALID, DROP_NULL, FILL_NULL, Rule
from ai_gateway.contract.strict_json import may_be_refused
from ai_gateway.errors import UpstreamInvalidResponse

# Each round can reveal errors one level deeper; replies nest far less than this.
_ROUNDS = 8
_MOST_CHOICES = 10_000  # nobody asks for so many; each of them costs some work
# So many objects may be beyond repair in a reply that is mended all the same.
_MOST_BROKEN = 100
# What an answer is made of is never dropped for being misshapen, unless it is empty.
_PRECIOUS = {"content", "tool_calls", "function_call", "audio", "text", "embedding", "refusal", "choices", "data"}
# Nothing inside these is optional enough to lose.
_SEALED = {"tool_calls", "function_call", "embedding"}
# Nor are these themselves, whatever they hold beside the answer.
_HOLDERS = {"choices", "data", "message", "delta"}
_EMPTY: tuple[object, ...] = ("", [], {})

type Path = tuple[str | int, ...]


def exact_json[Model: BaseModel](model: type[Model], raw: bytes) -> Model | None:
    """The JSON text as the exact model, in one step; None if it takes a closer look to say what it is.

    Only texts that `read_json` takes may come out right here, so those with numbers that could overflow, and the
    constants that are no JSON, are for the closer look.
    """
    if may_be_refused(raw):
        return None
    try:
        # The validator itself: model_validate_json checks its arguments first, which costs a fifth of it.
        exact: Model = model.__pydantic_validator__.validate_json(raw, strict=True)
    except ValidationError:
        return None
    return exact


def repair[Model: BaseModel](model: type[Model], value: object, context: ReplyContext) -> tuple[Model, list[Rule]]:
    """The value as the exact model, and the rules it took. Raises UpstreamInvalidResponse; never quotes the value."""
    applied: list[Rule] = []
    if isinstance(value, dict):
        if isinstance(choices := value.get("choices"), list) and len(choices) > _MOST_CHOICES:
            raise UpstreamInvalidResponse.off_contract(detail=f"{len(choices)} choices")
        applied += [rule for rule, repairs in REPAIRS.get(model, {}).items() if repairs(value, context)]
        if is_large(value):
            _mend_parts(model, value, applied, (), [])
    return _validated(model, value, applied), applied


def _mend_parts(
    model: type[BaseModel], value: Mapping[str, object], applied: list[Rule], place: Path, broken: list[Path]
) -> None:
    """Do the same to every object inside of a large one first, the innermost before those around it.

    What cannot be mended is left for what is around it to decide about, unless there is very much of it.
    """
    try:
        for inner_model, inner, where in parts_of(model, value):
            inside = (*place, *where)
            _mend_parts(inner_model, inner, applied, inside, broken)
            try:
                _validated(inner_model, inner, applied, inside)
            except UpstreamInvalidResponse:
                broken.append(inside)
                if len(broken) > _MOST_BROKEN:
                    raise
    except ValueError as error:
        raise UpstreamInvalidResponse.off_contract(detail=f"{'.'.join(map(str, place))}.{error}: not plain") from None


def _validated[Model: BaseModel](model: type[Model], value: object, applied: list[Rule], place: Path = ()) -> Model:
    """Fill and drop what the model's own errors point at, until there are none. `place` is where the value stands."""
    touched: dict[Path, Rule] = {}
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(value, strict=True)
        except ValidationError as error:
            # All are located before any is repaired; the branches of a union complain about the same place.
            spots = {spot.path: spot for spot in map(partial(_located, value), error.errors(include_url=False))}
        gone: dict[Path, set[int]] = {}
        for spot in spots.values():
            sealed = not _SEALED.isdisjoint((*place, *spot.path))
            rule = _repaired(spot, touched, sealed=sealed) or _dropped_around(
                value, () if sealed else spot.path, touched, gone
            )
            if rule is None:
                where = ".".join(str(step) for step in (*place, *spot.path)[:6])
                raise UpstreamInvalidResponse.off_contract(detail=f"{where}: {spot.problem}")
            touched[spot.path] = rule
            if rule not in applied:
                applied.append(rule)
        for path, places in gone.items():
            items = _at(value, path)
            if isinstance(items, list):
                items[:] = [item for at, item in enumerate(items) if at not in places]
            touched = {spot: rule for spot, rule in touched.items() if spot[: len(path)] != path}
    raise UpstreamInvalidResponse.off_contract(detail="too deep")


def _dropped_around(value: object, path: Path, touched: dict[Path, Rule], gone: dict[Path, set[int]]) -> Rule | None:
    """Drop the nearest thing around the path that is not the answer itself; None if that is all there is.

    Items of lists are only noted in `gone`, so that the places of the others hold until all are known.
    """
    for end in range(len(path) - 1, 0, -1):
        key, holder = path[end - 1], _at(value, path[: end - 1])
        if key in _HOLDERS:
            return None
        if isinstance(holder, dict) and key in holder and key not in _PRECIOUS:
            del holder[key]
            touched[path[:end]] = DROP_INVALID
            return DROP_INVALID
        # A vector that is missing is noticed where vectors are counted.
        if isinstance(holder, list) and isinstance(key, int) and path[end - 2] not in _PRECIOUS - {"data"}:
            gone.setdefault(path[: end - 1], set()).add(key)
            return DROP_INVALID
        if isinstance(holder, dict) and key not in holder:  # it went with another spot
            return DROP_INVALID
    return None


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where in the data an error points: the object that holds it, the key, and what is there now."""

    path: Path
    holder: object
    key: str | int | None
    value: object
    problem: str


def _located(value: object, details: ErrorDetails) -> _Spot:
    path: list[str | int] = []
    holder, key = None, None
    for position, step in enumerate(details["loc"]):
        inner = _step(value, step)
        last = position == len(details["loc"]) - 1
        if inner is _NOTHING and not (last and details["type"] == "missing"):
            continue  # the name of a union's branch, which is not in the data
        holder, key, value = value, step, inner
        path.append(step)
    return _Spot(tuple(path), holder, key, value, details["type"])


def _repaired(spot: _Spot, touched: Mapping[Path, Rule], *, sealed: bool) -> Rule | None:
    """The rule that repaired the spot; None if nothing can that leaves what is around it."""
    before = touched.get(spot.path)
    if not isinstance(spot.holder, dict) or not isinstance(spot.key, str) or before == FILL_NULL:
        return None
    if spot.value is _NOTHING:  # also where an empty value went that had to be null
        spot.holder[spot.key] = None
        return FILL_NULL
    if before:
        return None
    is_empty = spot.value in _EMPTY
    if not (spot.value is None or is_empty) and (spot.key in _PRECIOUS or sealed):
        return None
    del spot.holder[spot.key]
    return DROP_NULL if spot.value is None or is_empty else DROP_INVALID


_NOTHING = object()


def _at(value: object, path: Path) -> object:
    for step in path:
        value = _step(value, step)
    return value


def _step(value: object, step: str | int) -> object:
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step, _NOTHING)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return _NOTHING
