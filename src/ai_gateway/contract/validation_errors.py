"""From a pydantic validation error to the wrong field and a message that never quotes the input."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ai_gateway.errors import InvalidRequest, MissingParameter

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
NOTHING = object()
_WANTED = {
    "string_type": "a string", "int_type": "an integer", "int_from_float": "an integer", "float_type": "a number",
    "bool_type": "true or false", "list_type": "an array", "dict_type": "an object", "model_type": "an object",
    "model_attributes_type": "an object", "none_required": "null",
}  # fmt: skip
_BOUNDS: dict[str, Callable[[Mapping[str, object]], str]] = {
    "greater_than_equal": lambda facts: f"at least {facts.get('ge')}",
    "less_than_equal": lambda facts: f"at most {facts.get('le')}",
    "too_short": lambda facts: f"an array of at least {facts.get('min_length')}",
    "too_long": lambda facts: f"an array of at most {facts.get('max_length')}",
    "string_too_short": lambda facts: f"at least {facts.get('min_length')} characters long",
    "string_too_long": lambda facts: f"at most {facts.get('max_length')} characters long",
    "string_pattern_mismatch": lambda facts: _PATTERNS.get(str(facts.get("pattern")), _in_short(facts.get("pattern"))),
}
_NO_NUL = "text without the character U+0000"
# Readable descriptions of the contract's patterns.
_PATTERNS: Mapping[str, str] = {
    r"^[^\x00]*$": _NO_NUL,
    r"^[^\x00]+$": _NO_NUL,
    r"^[^\x00-\x1f\x7f]*$": "text without control characters",
    r"^[^\x00-\x20\x7f]+$": "text without blanks and control characters",
    r"^https?://[^\x00-\x20\x7f/?#]+[^\x00-\x20\x7f]*$": "a URL that begins with http:// or https://",
    r"^[0-9a-f]{64}$": "64 hexadecimal digits in lower case",
    r"^[0-9]+$": "digits",
}
_CHOICES = {"literal_error": "expected", "union_tag_invalid": "expected_tags"}
_CHOICE = re.compile(r"'[^']*'|[^', ][^',]*")
_MAX_PATTERN_LENGTH = 100
_CLOSE = 0.75  # of 1: `limt` is 0.89 like `limit`, and `user` 0.6 like `order`
_NO_CHOICES = frozenset({"''", "'null'"})  # pydantic's names for a branch whose tag may be left out


def explain(error: ValidationError, value: object, known: Iterable[str] = ()) -> InvalidRequest:
    """The most specific of the errors: the one deepest in the data. `known` are the fields at its top.

    Every branch of a union that does not match reports an error; the deepest one is of the branch the caller meant.
    """
    errors = _of_longest_lists(_of_meant_branches(error.errors(include_url=False, include_input=False)))
    located = [(_path(details, value), details) for details in errors]
    times = Counter(_render(path) for path, _ in located)
    # An error of several branches holds whichever is meant, while a missing field may be required by one alone.
    path, details = max(located, key=lambda pair: (len(pair[0]), times[_render(pair[0])], pair[1]["type"] == "missing"))
    if details["type"] in {"missing", "union_tag_not_found"}:
        name = _render([*path])
        return MissingParameter(f"Missing required parameter: {_quoted(name)}. Add it.", param=name)
    same_place = [other for other_path, other in located if other_path == path]
    if isinstance(value_at(value, path), list) and all(other["type"] in _WANTED for other in same_place):
        # Where a string or a list may be given and a list is, the error is inside the list.
        inside = [(_path(each, value), each) for each in error.errors(include_url=False, include_input=False)]
        deeper = [pair for pair in inside if pair[0][: len(path)] == path and len(pair[0]) > len(path)]
        if deeper:
            path = max((place for place, _ in deeper), key=len)
            same_place = [each for place, each in deeper if place == path]
    if same_place[0]["type"] == "extra_forbidden" and path and not _PLAIN_KEY.fullmatch(str(path[-1])):
        holder = _render(path[:-1])
        where = f" in '{holder}'" if holder else ""
        return InvalidRequest(
            f"Unknown parameter{where}: one whose name is not plain. Leave it out.",
            param=holder,
            code="unknown_parameter",
        )
    return _invalid(_render(path), same_place, known if len(path) == 1 else ())


def value_at(value: object, path: Sequence[str | int]) -> object:
    """What is at this path of a JSON value; NOTHING if there is none."""
    for step in path:
        value = step_into(value, step)
    return value


def _of_meant_branches(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those of union branches excluded by their tag, unless that leaves none."""
    tags = [error["loc"] for error in errors if error["type"] == "literal_error"]
    foreign = {location[:-1] for location in tags if location[-1:] == ("type",)}
    meant = [error for error in errors if not any(error["loc"][: len(branch)] == branch for branch in foreign)]
    return meant if any(len(error["loc"]) > 1 for error in meant) else errors


def _of_longest_lists(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those of lists that another branch of the same union reads further.

    A list is read up to its first wrong item, and one with wrong items is never too long: the branch that was read the
    furthest is the one that is meant.
    """
    unions: dict[tuple[int | str, ...], dict[tuple[int | str, ...], float]] = {}
    for error in errors:
        location = error["loc"]
        ends = [(at, float(step)) for at, step in enumerate(location) if isinstance(step, int)]
        if error["type"] == "too_long":
            ends.append((len(location), math.inf))
        for at, end in ends:
            if at and str(location[at - 1]).startswith("list["):
                unions.setdefault(location[: at - 1], {})[location[:at]] = end
    short = [branch for ends in unions.values() for branch, end in ends.items() if end < max(ends.values())]
    return [error for error in errors if not any(error["loc"][: len(branch)] == branch for branch in short)]


def _in_short(pattern: object) -> str:
    text = str(pattern)
    if len(text) <= _MAX_PATTERN_LENGTH:
        return f"text that matches {text}"
    return "base64" if "base64" in text else "text of another form"


def _invalid(name: str | None, errors: list[ErrorDetails], known: Iterable[str]) -> InvalidRequest:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=_CLOSE)
        advice = f"Did you mean '{near[0]}'?" if near else "Leave it out."
        return InvalidRequest(f"Unknown parameter: {_quoted(name)}. {advice}", param=name, code="unknown_parameter")
    wanted = [*dict.fromkeys(filter(None, map(_expectation, errors))), *_choices(errors)]
    kind = "invalid_type" if all(error["type"] in _WANTED for error in errors) else "invalid_value"
    words = f": expected {' or '.join(wanted)}" if wanted else ""
    return InvalidRequest(f"Invalid value for {_quoted(name)}{words}.", param=name, code=kind)


def _choices(errors: list[ErrorDetails]) -> list[str]:
    """The accepted values of all branches."""
    expected = [str(error.get("ctx", {}).get(_CHOICES[error["type"]])) for error in errors if error["type"] in _CHOICES]
    each = [choice for text in expected for choice in _CHOICE.findall(text.replace(" or ", ", "))]
    *most, last = [choice for choice in dict.fromkeys(each) if choice not in _NO_CHOICES] or [""]
    if not last:
        return []
    return [f"one of {', '.join(most)} or {last}" if most else f"one of {last}"]


def _expectation(error: ErrorDetails) -> str | None:
    if error["type"] in _WANTED:
        return _WANTED[error["type"]]
    bound = _BOUNDS.get(error["type"])
    return bound(error.get("ctx", {})) if bound else None


def _path(details: ErrorDetails, value: object) -> list[str | int]:
    """The part of pydantic's error location that exists in the data.

    Its locations mix keys with names of union branches and types; walking them against the data tells them apart.
    """
    path: list[str | int] = []
    location = details["loc"]
    named = False
    for position, step in enumerate(location):
        inner = step_into(value, step)
        if not named and _is_tag(value, inner, location[position : position + 2]):
            named = True
            continue
        if inner is not NOTHING:
            value = inner
        elif not (details["type"] == "missing" and position == len(location) - 1):
            named = True
            continue
        path.append(step)
        named = False
    if details["type"].startswith("union_tag") and isinstance(value, dict):
        path.append(str(details.get("ctx", {}).get("discriminator", "")).strip("'()"))
    return path


def _is_tag(value: object, inner: object, steps: tuple[str | int, ...]) -> bool:
    """Whether the first step names the branch that an object's `type` says, although the object has such a key too."""
    if len(steps) < 2 or inner is NOTHING or not isinstance(value, dict) or value.get("type") != steps[0]:
        return False
    return steps[0] == steps[1] or step_into(inner, steps[1]) is NOTHING


def step_into(value: object, step: str | int) -> object:
    """The value at a key or index of the data; NOTHING if there is none."""
    if isinstance(value, dict) and isinstance(step, str):
        return value.get(step, NOTHING)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return NOTHING


def _render(path: list[str | int]) -> str | None:
    """`messages[0].content`, as OpenAI writes it; None at the top or where a key is not a plain name."""
    name = ""
    for step in path:
        if isinstance(step, int):
            name += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            name += f".{step}" if name else step
        else:
            break
    return name or None


def _quoted(name: str | None) -> str:
    return f"'{name}'" if name else "the body"
