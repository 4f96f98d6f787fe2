"""JSON schemas of files that other programs read, from packages that have them: nothing is fetched."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


def _line(error: jsonschema_rs.ValidationError) -> str:
    return f"{'/'.join(map(str, error.instance_path))}: {error.message}"


def violations(kind: str, document: object) -> list[str]:
    """Where the document is none of this kind, and why: compose-spec, github-workflows, dependabot ..."""
    path = _folder("check_jsonschema") / "builtin_schemas" / "vendor" / f"{kind}.json"
    return [_line(error) for error in _validator(path).iter_errors(document)]


def kubernetes_violations(manifest: Mapping[str, Any], version: str) -> list[str]:
    """Where a manifest is none that Kubernetes of this version takes: unknown fields are among it."""
    folder = _folder("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    group, _, release = manifest["apiVersion"].rpartition("/")
    parts = [manifest["kind"].lower(), *([group.split(".")[0]] if group else []), release]
    path = folder / f"{'-'.join(parts)}.json"
    assert path.exists(), f"Kubernetes {version} knows no {manifest['apiVersion']} {manifest['kind']}"
    return [_line(error) for error in _kubernetes_validator(path).iter_errors(manifest)]


@cache
def _kubernetes_validator(path: Path) -> jsonschema_rs.Validator:
    def retrieve(uri: str) -> Any:
        return json.loads((path.parent / uri.rpartition("/")[2]).read_text("utf-8"))

    return jsonschema_rs.validator_for(json.loads(path.read_text("utf-8")), retriever=retrieve)
