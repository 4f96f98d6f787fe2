"""What changed between the vendored facts and a newer document, in the words of those who have to follow."""

from collections.abc import Callable, Iterator
from operator import gt, lt
from pathlib import Path

from scripts.contract.documents import Json, operations, reachable, read, ref_name
from scripts.contract.vendor import is_inference

type Where = tuple[str, ...]
type Facts = dict[Where, object]

_REVIEW = "  [review]"
_DECIDE = "  [new request field: adapters owe a decision]"
_LOOSER: dict[str, Callable[[float, float], bool]] = {"min": lt, "max": gt}


def report(current: Path, newer: Json, offered: list[str]) -> list[str]:
    """Lines to print: operations, then fields by schema, then what the document offers beyond the selection."""
    older = read(current) if current.exists() else {"paths": {}, "components": {}}
    lines = [*_operations(older, newer), *_schemas(older, newer), *_other_components(older, newer)]
    selected = {f"{method} {path}" for path, method, _ in operations(newer)}
    more = sorted(operation for operation in offered if is_inference(operation) and operation not in selected)
    lines = lines or ["no drift: the selected operations are as vendored"]
    return lines + ([f"offered but not selected: {', '.join(more)}"] if more else [])


def _operations(older: Json, newer: Json) -> Iterator[str]:
    before = {f"{method} {path}": operation for path, method, operation in operations(older)}
    after = {f"{method} {path}": operation for path, method, operation in operations(newer)}
    for name in sorted(set(before) | set(after)):
        if name not in before:
            yield f"+ operation {name}: bind its handler, and decide in every adapter"
        elif name not in after:
            yield f"- operation {name}: its handler has to go"
        else:
            yield from (f"~ operation {name}: {change}" for change in _changes(before[name], after[name], "operation"))


def _schemas(older: Json, newer: Json) -> Iterator[str]:
    before, after = older["components"].get("schemas", {}), newer["components"].get("schemas", {})
    sent = _sent(newer) | _sent(older)
    for name in sorted(set(before) | set(after)):
        side = "request" if name in sent else "reply"
        if name not in before:
            yield f"+ schema {name} ({side})"
        elif name not in after:
            yield f"- schema {name} ({side})"
        else:
            yield from (f"~ {name} ({side}): {change}" for change in _changes(before[name], after[name], side))


def _other_components(older: Json, newer: Json) -> Iterator[str]:
    for kind in sorted({*older["components"], *newer["components"]} - {"schemas"}):
        before, after = older["components"].get(kind, {}), newer["components"].get(kind, {})
        for name in sorted(set(before) & set(after)):
            yield from (f"~ {kind} {name}: {change}" for change in _changes(before[name], after[name], kind))


def _sent(document: Json) -> set[str]:
    bodies = [operation.get("requestBody", {}) for _, _, operation in operations(document)]
    return {ref_name(ref) for ref in reachable(document, bodies)}


def _changes(older: Json, newer: Json, side: str) -> Iterator[str]:
    """A line a field that came or went, and a line a fact that changed elsewhere."""
    before, after = _flat(older), _flat(newer)
    came, went = _fields(after) - _fields(before), _fields(before) - _fields(after)
    for field in _outermost(came):
        yield f"{_spoken(field)} added = {_under(field, after)}{_DECIDE if side == 'request' else ''}"
    for field in _outermost(went):
        yield f"{_spoken(field)} removed (was {_under(field, before)}){_REVIEW}"
    for where in sorted(set(before) | set(after)):
        if before.get(where) == after.get(where) or any(where[: len(field)] == field for field in came | went):
            continue
        verdict = "" if _harmless(where[-1], before.get(where), after.get(where), side) else _REVIEW
        if where not in before:
            yield f"{_spoken(where)} added = {after[where]}{verdict}"
        elif where not in after:
            yield f"{_spoken(where)} removed (was {before[where]}){verdict}"
        else:
            yield f"{_spoken(where)}: {before[where]} -> {after[where]}{verdict}"


def _harmless(keyword: str, old: object, new: object, side: str) -> bool:
    """Whether whatever was valid still is, so that no review is needed."""
    if keyword in {"default", "deprecated", "tags"}:
        return True
    if keyword == "required" and side == "request" and isinstance(old, list):
        return set(new if isinstance(new, list) else []) <= set(old)
    looser = _LOOSER.get(keyword[:3])
    if looser is None or not isinstance(old, int | float):
        return False
    return new is None or (isinstance(new, int | float) and looser(new, old))


def _fields(facts: Facts) -> set[Where]:
    """The path of every property, down to any depth."""
    found: set[Where] = set()
    for where in facts:
        at = 0
        while at + 1 < len(where):
            named = where[at] == "properties"
            if named:
                found.add(where[: at + 2])
            at += 2 if named else 1
    return found


def _outermost(fields: set[Where]) -> list[Where]:
    return sorted(f for f in fields if not any(f[: len(other)] == other for other in fields - {f}))


def _under(field: Where, facts: Facts) -> str:
    """What is known of a field, in a line."""
    known = {".".join(where[len(field) :]): value for where, value in facts.items() if where[: len(field)] == field}
    return ", ".join(f"{key} {value}" for key, value in known.items() if key) or "anything"


def _spoken(where: Where) -> str:
    """The path as a reader says it: without the keyword before each property's name."""
    out, at = [], 0
    while at < len(where):
        at += where[at] == "properties" and at + 1 < len(where)
        out.append(where[at])
        at += 1
    return ".".join(out)


def _flat(schema: Json, prefix: Where = ()) -> Facts:
    """One entry a fact, by its path; order within enums, required lists and unions does not count."""
    facts: Facts = {}
    for key, value in schema.items():
        where = (*prefix, key)
        if isinstance(value, dict) and value:
            facts.update(_flat(value, where))
        elif isinstance(value, list):
            facts[where] = sorted(str(_spelled(item)) for item in value)
        else:
            facts[where] = value
    return facts


def _spelled(item: object) -> object:
    """A branch of a union as its facts; anything else as it is."""
    return {".".join(where): fact for where, fact in sorted(_flat(item).items())} if isinstance(item, dict) else item
