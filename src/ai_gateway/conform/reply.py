"""Make one reply or chunk exact, where that needs no guessing, and name the applied rules.

An exact one costs one validation. Any other is repaired by the rules for its kind, and by null or absence where the
model allows it; if it is still wrong, it is invalid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ai_gateway.conform.large import is_large, parts_of
from ai_gateway.conform.objects import REPAIRS, ReplyContext
from ai_gateway.conform.rules import DROP_INVALID, DROP_NULL, FILL_NULL, Rule
from ai_gateway.contract.strict_json import may_be_refused, read_json
from ai_gateway.contract.validation_errors import NOTHING, step_into, value_at
from ai_gateway.errors import UpstreamInvalidResponse

# Each round can reveal errors one level deeper; replies nest far less than this.
_ROUNDS = 8
_MAX_CHOICES = 10_000  # bounds the work; no request has so many
# Irreparable objects that may be dropped from a reply.
_MAX_BROKEN = 100
# Fields of the answer itself are never dropped for being invalid, unless they are empty.
_PRECIOUS = {"content", "tool_calls", "function_call", "audio", "text", "embedding", "refusal", "choices", "data"}
# Nothing inside these is dropped.
_SEALED = {"tool_calls", "function_call", "embedding"}
# Nor are these themselves dropped.
_HOLDERS = {"choices", "data", "message", "delta"}
_EMPTY: tuple[object, ...] = ("", [], {})

type Path = tuple[str | int, ...]


def exact_json[Model: BaseModel](model: type[Model], raw: bytes) -> Model | None:
    """The JSON text as the exact model, in one step; None if it needs the slower path.

    It must accept nothing that `read_json` refuses. Hexadecimal ids often look like numbers that overflow.
    """
    if may_be_refused(raw):
        try:
            read_json(raw)
        except ValueError:
            return None
    try:
        # The validator itself: model_validate_json checks its arguments first, which costs a fifth of it.
        exact: Model = model.__pydantic_validator__.validate_json(raw, strict=True)
    except ValidationError:
        return None
    return exact


def repair[Model: BaseModel](model: type[Model], value: object, context: ReplyContext) -> tuple[Model, list[Rule]]:
    """The value as the exact model, and the applied rules. Raises UpstreamInvalidResponse without the value."""
    applied: list[Rule] = []
    if isinstance(value, dict):
        if isinstance(choices := value.get("choices"), list) and len(choices) > _MAX_CHOICES:
            raise UpstreamInvalidResponse.off_contract(detail=f"{len(choices)} choices")
        applied += [rule for rule, repairs in REPAIRS.get(model, {}).items() if repairs(value, context)]
        if is_large(value):
            _repair_parts(model, value, applied, (), [])
    return _validated(model, value, applied), applied


def _repair_parts(
    model: type[BaseModel], value: Mapping[str, object], applied: list[Rule], place: Path, broken: list[Path]
) -> None:
    """Repair every object inside a large one first, from the inside out.

    Irreparable objects are left to the repair of the object around them, up to a bound.
    """
    try:
        for inner_model, inner, where in parts_of(model, value):
            inside = (*place, *where)
            _repair_parts(inner_model, inner, applied, inside, broken)
            try:
                _validated(inner_model, inner, applied, inside)
            except UpstreamInvalidResponse:
                broken.append(inside)
                if len(broken) > _MAX_BROKEN:
                    raise
    except ValueError as error:
        raise UpstreamInvalidResponse.off_contract(detail=f"{'.'.join(map(str, place))}.{error}: not plain") from None


def _validated[Model: BaseModel](model: type[Model], value: object, applied: list[Rule], place: Path = ()) -> Model:
    """Fill or drop the places of the model's errors until there are none. `place` is the value's own place."""
    touched: dict[Path, Rule] = {}
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(value, strict=True)
        except ValidationError as error:
            # All are located before any is repaired; branches of a union report the same place several times.
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
            items = value_at(value, path)
            if isinstance(items, list):
                items[:] = [item for at, item in enumerate(items) if at not in places]
            touched = {spot: rule for spot, rule in touched.items() if spot[: len(path)] != path}
    raise UpstreamInvalidResponse.off_contract(detail="too deep")


def _dropped_around(value: object, path: Path, touched: dict[Path, Rule], gone: dict[Path, set[int]]) -> Rule | None:
    """Drop the nearest value around the path that is not part of the answer; None if there is none.

    Items of lists are only noted in `gone`, so that indexes stay valid until all are known.
    """
    for end in range(len(path) - 1, 0, -1):
        key, holder = path[end - 1], value_at(value, path[: end - 1])
        if key in _HOLDERS:
            return None
        if isinstance(holder, dict) and key in holder and key not in _PRECIOUS:
            del holder[key]
            touched[path[:end]] = DROP_INVALID
            return DROP_INVALID
        # A missing vector is detected when vectors are counted.
        if isinstance(holder, list) and isinstance(key, int) and path[end - 2] not in _PRECIOUS - {"data"}:
            gone.setdefault(path[: end - 1], set()).add(key)
            return DROP_INVALID
        if isinstance(holder, dict) and key not in holder:  # dropped with another spot already
            return DROP_INVALID
    return None


@dataclass(frozen=True, slots=True)
class _Spot:
    """The place of an error in the data: the containing object, the key, and the present value."""

    path: Path
    holder: object
    key: str | int | None
    value: object
    problem: str


def _located(value: object, details: ErrorDetails) -> _Spot:
    path: list[str | int] = []
    holder, key = None, None
    for position, step in enumerate(details["loc"]):
        inner = step_into(value, step)
        last = position == len(details["loc"]) - 1
        if inner is NOTHING and not (last and details["type"] == "missing"):
            continue  # the name of a union's branch, which is not in the data
        holder, key, value = value, step, inner
        path.append(step)
    return _Spot(tuple(path), holder, key, value, details["type"])


def _repaired(spot: _Spot, touched: Mapping[Path, Rule], *, sealed: bool) -> Rule | None:
    """The rule that repaired the spot; None if it can only be repaired by dropping an object around it."""
    before = touched.get(spot.path)
    if not isinstance(spot.holder, dict) or not isinstance(spot.key, str) or before == FILL_NULL:
        return None
    if spot.value is NOTHING:  # also after an empty value was dropped that had to be null
        spot.holder[spot.key] = None
        return FILL_NULL
    if before:
        return None
    is_empty = spot.value in _EMPTY
    if not (spot.value is None or is_empty) and (spot.key in _PRECIOUS or sealed):
        return None
    del spot.holder[spot.key]
    return DROP_NULL if spot.value is None or is_empty else DROP_INVALID
