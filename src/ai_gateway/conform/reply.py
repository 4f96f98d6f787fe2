"""Make an upstream's reply exact, where that takes no guessing.

Real replies leave out what may be null and send null for what may only be absent. Both are mended by what the model
itself says; anything else wrong with a reply makes it invalid.
"""

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ai_gateway.contract.strict_json import may_overflow
from ai_gateway.errors import UpstreamInvalidResponse

# Each round can reveal errors one level deeper; replies nest far less than this.
_ROUNDS = 4


def exact[Model: BaseModel](model: type[Model], value: object) -> Model:
    """The value as the exact model. Raises UpstreamInvalidResponse; never quotes the value."""
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(value, strict=True)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if not all([_mended(value, details) for details in errors]):  # noqa: C419 - mend all, then judge
                raise _invalid(errors) from None
    raise UpstreamInvalidResponse("The provider's reply does not follow the contract.")


def exact_json[Model: BaseModel](model: type[Model], raw: bytes) -> Model | None:
    """The JSON text as the exact model, in one step; None if it takes a closer look to say what it is.

    Only texts that `read_json` takes may come out right here, so those with numbers that could overflow, and the
    constants that are no JSON, are for the closer look.
    """
    if may_overflow(raw) or b"NaN" in raw or b"Infinity" in raw:
        return None
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError:
        return None


def _mended(value: object, details: ErrorDetails) -> bool:
    *path, last = details["loc"] or ("",)
    for step in path:
        value = _step(value, step)
    if not isinstance(value, dict):
        return False
    if details["type"] == "missing":
        # Whether null is allowed here is for the next round to say.
        return value.setdefault(last, None) is None
    return value.get(last, ...) is None and value.pop(last) is None


def _step(value: object, step: str | int) -> object:
    """One step along an error's location, which also names union branches that are not in the data."""
    if isinstance(value, dict):
        return value.get(step, value)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return value


def _invalid(errors: list[ErrorDetails]) -> UpstreamInvalidResponse:
    where = ".".join(str(step) for step in errors[0]["loc"][:6])
    return UpstreamInvalidResponse(
        "The provider's reply does not follow the contract.", detail=f"{where}: {errors[0]['type']}"
    )
