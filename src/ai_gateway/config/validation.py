"""Messages for invalid settings: with the source, and with the value unless it is secret."""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ai_gateway.config.fields import FILE_ONLY, SECRET
from ai_gateway.config.problems import shown
from ai_gateway.config.settings import (
    KeySettings,
    ProviderSettings,
    RouteSettings,
    marked,
)
from ai_gateway.config.tables import McpSettings, PriceSettings

_SECRETS = frozenset(marked(SECRET))
_SECRET_PARTS = frozenset({"api_key", "headers", "proxy"})
_TABLES: Mapping[str, type[BaseModel]] = {
    "keys": KeySettings,
    "mcp": McpSettings,
    "providers": ProviderSettings,
    "prices": PriceSettings,
    "routes": RouteSettings,
}
_FILE_ONLY = frozenset(marked(FILE_ONLY))
# Messages by the type of pydantic's error, with its context filled in.
_WORDS = {
    **dict.fromkeys(("int_parsing", "int_from_float", "int_type", "int_parsing_size"), "is no whole number"),
    **dict.fromkeys(("float_parsing", "float_type", "finite_number"), "is no number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "is neither true nor false"),
    **dict.fromkeys(("string_type", "path_type"), "has to be a text"),
    **dict.fromkeys(("list_type", "tuple_type"), "has to be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "has to be a table"),
    "greater_than": "has to be more than {gt}",
    "greater_than_equal": "has to be at least {ge}",
    "less_than": "has to be less than {lt}",
    "less_than_equal": "is more than the largest, {le}",
    "literal_error": "is not one of {expected}",
    "too_short": "has to have an entry",
    "missing": "is missing",
    **dict.fromkeys(("ip_v4_network", "ip_v6_network"), "is no address or network such as 10.0.0.0/8"),
}


def closest(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: with the similar known name, or with all of them."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    return f": did you mean {near[0]}?" if near else f". Known: {', '.join(known)}"


def invalid_values(error: ValidationError, origin: Callable[[str], str]) -> Iterator[str]:
    """A line for each invalid value. `origin` names the source of a setting."""
    return iter(dict.fromkeys(_lines(error, origin)))  # every branch of a union reports an error


def _lines(error: ValidationError, origin: Callable[[str], str]) -> Iterator[str]:
    for details in error.errors(include_url=False):
        place = [str(part) for part in details["loc"]]
        name = ".".join(place) if place[0] in _FILE_ONLY else place[0].upper()
        if details["type"] == "extra_forbidden":
            known = _TABLES[place[0]].model_fields if place[0] in _TABLES else ()
            yield f"{'.'.join(place[:-1])}: unknown setting {place[-1]}{closest(place[-1], known)} ({origin(place[0])})"
            continue
        is_secret = place[0] in _SECRETS or not _SECRET_PARTS.isdisjoint(place)
        value = "" if is_secret or details["type"] == "missing" else shown(details["input"])
        yield f"{name}: {_problem(details, value)} ({origin(place[0])})"


def first_problem(error: ValidationError) -> str:
    """What is wrong with a single value."""
    details = error.errors(include_url=False)[0]
    return _problem(details, "" if details["type"] == "value_error" else shown(details["input"]))


def _problem(details: ErrorDetails, value: str) -> str:
    words = _WORDS.get(details["type"])
    if words is None:  # an error of our own validators, or an unexpected type
        message = details["msg"].removeprefix("Value error, ")
        message = f"{message[0].lower()}{message[1:]}"
        return f"{value}: {message}" if value else message
    explanation = words.format(**{name: _short(limit) for name, limit in details.get("ctx", {}).items()})
    near = _nearest(details) if value and details["type"] == "literal_error" else ""
    return f"{value or 'the value'} {explanation}{near}" if details["type"] != "missing" else explanation


def _nearest(details: ErrorDetails) -> str:
    """The allowed value that was probably meant."""
    allowed = re.findall("'([^']*)'", details.get("ctx", {}).get("expected", ""))
    near = difflib.get_close_matches(str(details["input"]).lower(), allowed, n=1)
    return f": did you mean {near[0]}?" if near else ""


def _short(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit
