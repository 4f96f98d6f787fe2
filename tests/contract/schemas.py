"""The contract as plain JSON Schema, and a validator for each of its schemas that is none of our code."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

CONTRACT: dict[str, Any] = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))


@cache
def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=False)
