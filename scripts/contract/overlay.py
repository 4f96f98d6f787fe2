"""Apply corrections to a document: OpenAPI Overlay actions, each with its reason.

The files are standard Overlay 1.0 documents (`actions` with a JSONPath `target` and `update` or `remove`). Two
things are stricter than the standard: every action has an `x-why`, and a target that matches nothing is an error,
because a correction that no longer applies is a correction that got lost.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonpath

from scripts.contract.documents import Json, read


def apply_file(document: Json, path: Path) -> Json:
    """The document after every action of the overlay at `path`, in order; the input is left as it was."""
    document = deepcopy(document)
    for number, action in enumerate(read(path)["actions"], start=1):
        where = f"{path.name}, action {number} ({action.get('target')})"
        if "target" not in action or not (action.get("remove") or "update" in action):
            raise SystemExit(f"{where}: an action has a `target`, and `update` or `remove`")
        if not str(action.get("x-why") or "").strip():
            raise SystemExit(f"{where}: every action needs an `x-why`")
        _apply(document, action, where)
    return document


def _apply(document: Json, action: Json, where: str) -> None:
    try:
        matches = list(jsonpath.finditer(str(action["target"]), document))
    except jsonpath.JSONPathError as error:
        raise SystemExit(f"{where}: the target is no JSONPath: {str(error).splitlines()[0]}") from None
    if not matches:
        raise SystemExit(f"{where}: the target matches nothing; the document has changed under this correction")
    if action.get("remove"):
        for match in reversed(matches):  # from the back, so that no index moves before its turn
            _remove(match)
        return
    for match in matches:
        _replace(document, match, merge(match.obj, deepcopy(action["update"])))


def _remove(match: jsonpath.JSONPathMatch) -> None:
    if match.parent is None:
        raise SystemExit("An overlay cannot remove the whole document")
    holder: Any = match.parent.obj
    del holder[_place(match)]


def _replace(document: Json, match: jsonpath.JSONPathMatch, value: Any) -> None:  # noqa: ANN401 - any JSON value
    if match.parent is None:
        if not isinstance(value, dict):
            raise SystemExit("An overlay cannot make the whole document anything but an object")
        document.clear()
        document.update(value)
    else:
        holder: Any = match.parent.obj
        holder[_place(match)] = value


def _place(match: jsonpath.JSONPathMatch) -> Any:  # noqa: ANN401 - a key or an index
    """Where the match stands in its parent; the library takes `[0]` for the key "0" too, and then names an index."""
    last = match.parts[-1]
    return str(last) if match.parent is not None and isinstance(match.parent.obj, dict) else last


def merge(target: Any, update: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The standard's update: objects merge key by key, lists grow, everything else is replaced."""
    if isinstance(target, dict) and isinstance(update, dict):
        merged = dict(target)
        for key, value in update.items():
            merged[key] = merge(merged[key], value) if key in merged else value
        return merged
    if isinstance(target, list):
        return [*target, *(update if isinstance(update, list) else [update])]
    return update
