"""JSON data as YAML."""

import json
import re
from collections.abc import Iterator

# Neither a number, a date nor an indicator begins so, and none of these characters ends a plain scalar.
_PLAIN = re.compile(r"[A-Za-z_$/][\w$/{}.-]*", re.ASCII)
# Plain, these are not text in YAML 1.1, which most readers still go by (https://yaml.org/type/bool.html).
_NOT_TEXT = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
# Characters that JSON allows and YAML does not, or reads as line breaks (YAML 1.2.2, sections 5.1 and 5.4).
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def as_yaml(data: object) -> str:
    """In block style. Text that YAML could read as another type is quoted as in JSON, which YAML reads the same."""
    return "\n".join(_block(data, "")).lstrip("\n") + "\n"


def _block(data: object, indent: str) -> Iterator[str]:
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _entry(f"{indent}{_scalar(key)}:", value, indent + "  ")
    elif isinstance(data, list) and data:
        for item in data:
            yield from _entry(f"{indent}-", item, indent + "  ")
    else:
        yield indent + _scalar(data)


def _entry(head: str, value: object, indent: str) -> Iterator[str]:
    if not isinstance(value, dict | list) or not value:
        yield f"{head} {_scalar(value)}"
        return
    lines = _block(value, indent)
    if head.endswith("-"):
        yield f"{head} {next(lines).removeprefix(indent)}"
    else:
        yield head
    yield from lines


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    if isinstance(value, float) and "e" in (shown := repr(value)) and "." not in shown:
        return shown.replace("e", ".0e")  # without a point it is text in YAML 1.1
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
