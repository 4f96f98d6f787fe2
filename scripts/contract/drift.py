"""What changed between the vendored facts and a newer document, in the words of those who have to follow."""

from collections.abc import Iterator
from pathlib import Path

from scripts.contract.documents import Json, operations, reachable, read, ref_name
from scripts.contract.vendor import is_inference

type Facts = dict[str, object]


def report(current: Path, newer: Json, offered: list[str]) -> list[str]:
    """Lines to print: operations, then fields by schema, then what the document offers beyond the selection."""
    older = read(current) if current.exists() else {"paths": {}, "components": {}}
    lines = [*_operations(older, newer), *_schemas(older, newer)]
    selected = {f"{method} {path}" for path, method, _ in operations(newer)}
    more = sorted(operation for operation in offered if is_inference(operation) and operation not in selected)
    lines = lines or ["no drift: the selected operations are as vendored"]
    return lines + ([f"offered but not selected: {', '.join(more)}"] if more else [])


def _operations(older: Json, newer: Json) -> Iterator[str]:
    before = {f"{method} {path}" for path, method, _ in operations(older)}
    after = {f"{method} {path}" for path, method, _ in operations(newer)}
    for operation in sorted(after - before):
        yield f"+ operation {operation}: bind its handler, and decide in every adapter"
    for operation in sorted(before - after):
        yield f"- operation {operation}: its handler has to go"


def _schemas(older: Json, newer: Json) -> Iterator[str]:
    before, after = older["components"].get("schemas", {}), newer["components"].get("schemas", {})
    sent = _sent(newer)
    for name in sorted(set(before) | set(after)):
        side = "request" if name in sent else "reply"
        if name not in before:
            yield f"+ schema {name} ({side})"
        elif name not in after:
            yield f"- schema {name} ({side})"
        else:
            yield from (f"~ {name} ({side}): {change}" for change in _changes(before[name], after[name], side))


def _sent(document: Json) -> set[str]:
    bodies = [operation.get("requestBody", {}) for _, _, operation in operations(document)]
    return {ref_name(ref) for ref in reachable(document, bodies)}


def _changes(older: Json, newer: Json, side: str) -> Iterator[str]:
    before, after = _flat(older), _flat(newer)
    for path in sorted(set(before) | set(after)):
        if before.get(path) == after.get(path):
            continue
        field = path.replace("properties.", "")
        if path not in before:
            yield f"{field} added = {after[path]}{_verdict(path, side, added=True)}"
        elif path not in after:
            yield f"{field} removed (was {before[path]}){_verdict(path, side, added=False)}"
        else:
            yield f"{field}: {before[path]} -> {after[path]}{_verdict(path, side, added=None)}"


def _verdict(path: str, side: str, *, added: bool | None) -> str:
    """Whether somebody has to look: a new optional request field is safe, the rest may tighten something."""
    keyword = path.rsplit(".", 1)[-1]
    if side == "request" and added and keyword == "type":
        return "  [new request field: adapters owe a decision]"
    loosened = added is False and keyword in {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}
    return "" if loosened or keyword in {"default", "deprecated"} else "  [review]"


def _flat(schema: Json, prefix: str = "") -> Facts:
    """One entry a fact, by its path; order within enums, required lists and unions does not count."""
    facts: Facts = {}
    for key, value in schema.items():
        path = f"{prefix}.{key}" if prefix else key
        if key in {"enum", "required"}:
            facts[path] = sorted(map(str, value))
        elif isinstance(value, dict):
            facts.update(_flat(value, path))
        elif isinstance(value, list):
            facts[path] = sorted(str(_flat(item) if isinstance(item, dict) else item) for item in value)
        else:
            facts[path] = value
    return facts
