"""Validation that only looks at the fields that an object has.

A model's own validator looks up each of its fields and stores a default for each missing one. Most bodies have five of
the requests' forty fields: a validator for just such a set of names takes half as long, and the defaults are copied all
at once.
"""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import MISSING, BaseModel, ValidationError
from pydantic_core import SchemaValidator

# Sets of names with a validator of their own, for each model: clients have few, and a validator takes 20 KB.
_MAX_SETS = 32
_PLAIN_DEFAULTS = (type(None), str, int, float, bool, type(MISSING))
_PARTS = BaseModel.__dict__

new = object.__new__
"""Makes a model without calling it. It has to get all four parts by these, at a quarter of `model_construct`'s cost."""
set_dict = _PARTS["__dict__"].__set__
set_given = _PARTS["__pydantic_fields_set__"].__set__
set_extra = _PARTS["__pydantic_extra__"].__set__
set_private = _PARTS["__pydantic_private__"].__set__


def validated[Model: BaseModel](model: type[Model], value: object) -> Model:
    """The value as the exact model, with the same result as its own validator. Raises the same ValidationError."""
    if value.__class__ is dict:
        known = _known.get(model) or _Sets.of(model)
        names = tuple(cast("dict[str, object]", value))
        validator = known.validators.get(names)
        if validator is None:
            validator = known.learnt(names)
        if validator is not None:
            try:
                fields, extra, given = validator.validate_python(value, strict=True)
            except ValidationError:
                pass  # the model's own validator gives the details
            else:
                exact = new(model)
                values = known.defaults.copy()
                values.update(fields)
                set_dict(exact, values)
                set_given(exact, given)
                set_extra(exact, extra)
                set_private(exact, None)
                return exact
    return cast("Model", model.__pydantic_validator__.validate_python(value, strict=True))


class _Sets:
    """The validators of one model by sets of names. Models with unusual features have none."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.validators: dict[tuple[str, ...], SchemaValidator] = {}
        self.defaults: dict[str, object] = {}
        """Defaults of all fields, in order; required ones have to be replaced."""
        self._fields: Mapping[str, Any] | None = None
        whole: Mapping[str, Any] = model.__pydantic_core_schema__
        own = whole["schema"] if whole["type"] == "definitions" else whole
        if own["type"] == "model" and own["schema"]["type"] == "model-fields" and _is_usual(model, own):
            self._whole, self._own = whole, own
            self._fields = fields = own["schema"]["fields"]
            self.defaults = {name: field["schema"].get("default") for name, field in fields.items()}

    @classmethod
    def of(cls, model: type[BaseModel]) -> "_Sets":
        """The validators of the model, created on first use."""
        found = _known[model] = cls(model)
        return found

    def learnt(self, names: tuple[str, ...]) -> SchemaValidator | None:
        """Create a validator for these names; None if that is impossible, or if there are too many."""
        known = self._fields
        if known is None or len(self.validators) >= _MAX_SETS or not known.keys() >= set(names):
            return None
        fields = {name: field for name, field in known.items() if name in names or "default" not in field["schema"]}
        schema = {**self._own["schema"], "fields": fields}
        if self._whole is not self._own:
            schema = {**self._whole, "schema": schema}
        validator = SchemaValidator(cast("Any", schema), self._own.get("config"))
        self.validators[names] = validator
        return validator


_known: dict[type[BaseModel], _Sets] = {}


def _is_usual(model: type[BaseModel], schema: Mapping[str, Any]) -> bool:
    """Whether its objects consist of their fields only, with defaults that can be shared."""
    fields = schema["schema"]["fields"].values()
    odd = ("custom_init", "root_model", "post_init")
    return not (
        any(schema.get(name) for name in odd)
        or model.__private_attributes__
        or schema.get("config", {}).get("validate_default")
        or any("validation_alias" in field or field["schema"].get("validate_default") for field in fields)
        or any("default_factory" in field["schema"] for field in fields)
        or any(not isinstance(field["schema"].get("default"), _PLAIN_DEFAULTS) for field in fields)
    )
