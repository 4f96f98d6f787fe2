"""Make one reply or chunk exact, where that takes no guessing, and name the rules it took.

One that is exact costs one validation. Any other is repaired by the rules for its kind and by what the model itself
says may be null or absent; what is still wrong then makes it invalid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ai_gateway.conform.objects import REPAIRS, ReplyContext
from ai_gateway.conform.parts import is_large, parts_of
from ai_gateway.conform.rules import DROP_INVALID, DROP_NULL, FILL_NULL, Rule
from ai_gateway.contract.strict_json import may_be_refused
from ai_gateway.errors import UpstreamInvalidResponse

# Each round can reveal errors one level deeper; replies nest far less than this.
_ROUNDS = 8
_MOST_CHOICES = 10_000  # nobody asks for so many; each of them costs some work
# So many objects may be beyond repair in a reply that is mended all the same.
_MOST_BROKEN = 100
# What an answer is made of is never dropped for being misshapen.
_PRECIOUS = {"content", "tool_calls", "function_call", "audio", "text", "embedding", "refusal", "choices", "data"}
# Nothing inside these is optional enough to lose.
_SEALED = {"tool_calls", "function_call", "embedding"}

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
    if isinstance(value, dict) and is_large(value):
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
        for spot in spots.values():
            rule = _repaired(spot, touched, place)
            if rule is None and isinstance(value, dict) and spot.path[:1] == ("usage",):
                value.pop("usage", None)  # counts that cannot be read are no reason to lose the answer
                rule = DROP_INVALID
            if rule is None:
                where = ".".join(str(step) for step in (*place, *spot.path)[:6])
                raise UpstreamInvalidResponse.off_contract(detail=f"{where}: {spot.problem}")
            touched[spot.path] = rule
            if rule not in applied:
                applied.append(rule)
    raise UpstreamInvalidResponse.off_contract(detail="too deep")


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


def _repaired(spot: _Spot, touched: Mapping[Path, Rule], place: Path) -> Rule | None:
    """The rule that repaired the spot; None if nothing can."""
    before = touched.get(spot.path)
    if not isinstance(spot.holder, dict) or not isinstance(spot.key, str):
        return None
    if spot.value is _NOTHING:  # what was dropped there had to be there after all
        if before:
            return None
        spot.holder[spot.key] = None
        return FILL_NULL
    if before:  # null is not allowed where it was filled in
        return None
    rule = DROP_NULL if spot.value is None else DROP_INVALID
    if rule == DROP_INVALID and (spot.key in _PRECIOUS or _SEALED & {*place, *spot.path}):
        return None
    del spot.holder[spot.key]
    return rule


_NOTHING = object()


def _step(value: object, step: str | int) -> object:
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step, _NOTHING)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return _NOTHING
