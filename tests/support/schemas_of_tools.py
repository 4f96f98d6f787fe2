"""JSON schemas of files that other programs read, from packages that have them: nothing is fetched."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import jsonschema_rs


def _folder(package: str) -> Path:
    """Where the package is. It is not imported, which takes seconds: only its files are of use."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is missing: run make install"
    assert spec.origin is not None
    return Path(spec.origin).parent


@cache
def _validator(path: Path) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(path.read_text("utf-8")))


def _told(path: Path, document: object) -> list[str]:
    return [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in _validator(path).iter_errors(document)
    ]


def violations(kind: str, document: object) -> list[str]:
    """Where the document is none of this kind, and why: compose-spec, github-workflows, dependabot ..."""
    return _told(_folder("check_jsonschema") / "builtin_schemas" / "vendor" / f"{kind}.json", document)
