"""Vendor an official document: the selected operations as facts, and where they came from."""

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.contract.documents import Json, operations, read, to_yaml
from scripts.contract.extract import extract
from scripts.contract.normalize import normalize

_HEADER = """\
# Facts of {repository}, {document} {version} ({licence}), commit {commit}: names, types, enums, bounds.
# Written by `make spec-update`, in normal form; no prose of the original. Do not edit: corrections go to ../overlay.
"""


@dataclass(frozen=True)
class SourceRecord:
    """What `source.toml` says: where the facts come from, and which operations and further schemas are selected.

    `schemas` are roots that no selected operation refers to, such as the events of a stream. `policies` says that the
    requests go on to providers, whose adapters then declare a policy for every field.
    """

    origin: dict[str, str]
    operations: tuple[str, ...]
    schemas: tuple[str, ...] = ()
    policies: bool = True

    def select(self, more: list[str]) -> "SourceRecord":
        """The record with further operations selected."""
        return replace(self, operations=(*self.operations, *(op for op in more if op not in self.operations)))


@dataclass(frozen=True)
class Vendored:
    """A document taken in: its facts, the operations it offers, and its record."""

    facts: Json
    offered: list[str]
    record: SourceRecord
    sha256: str


def read_source(folder: Path) -> SourceRecord:
    """The record in a folder of `spec/`."""
    if not (folder / "source.toml").is_file():
        raise SystemExit(f"{folder}: no contract with a source.toml. Known: {', '.join(_contracts(folder.parent))}")
    record = tomllib.loads((folder / "source.toml").read_text(encoding="utf-8"))
    select = record["select"]
    return SourceRecord(
        record["source"],
        tuple(select["operations"]),
        tuple(select.get("schemas", ())),
        select.get("policies", True),
    )


def _contracts(spec: Path) -> list[str]:
    return sorted(path.parent.name for path in spec.glob("*/source.toml"))


def vendored(path: Path, record: SourceRecord) -> Vendored:
    """The facts of the selected operations in the document at `path`."""
    document = read(path)
    if not {"openapi", "info", "paths"} <= set(document):
        raise SystemExit(f"{path}: not an OpenAPI 3 document (it has no `openapi`, `info` and `paths`)")
    version = str(document["info"].get("version", record.origin["version"]))  # not every publisher numbers theirs
    origin = {**record.origin, "version": version, "openapi": str(document["openapi"])}
    offered = [f"{method} {name}" for name, method, _ in operations(document)]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = normalize(extract(document, record.operations, record.schemas), record.schemas)
    return Vendored(facts, offered, replace(record, origin=origin), digest)


def write_vendored(folder: Path, newer: Vendored, *, commit: str | None, date: str | None, sha256: str | None) -> None:
    """Write facts.yaml and source.toml. What was not given is recorded as unrecorded, not carried over."""
    known = newer.record.origin
    same = (sha256 or newer.sha256) == known["sha256"]
    origin = {
        **known,
        "commit": commit or (known["commit"] if same else "unrecorded"),
        "date": date or (known["date"] if same else "unrecorded"),
        "sha256": sha256 or newer.sha256,
    }
    facts = _HEADER.format(**origin) + to_yaml(newer.facts)
    (folder / "facts.yaml").write_text(facts, encoding="utf-8")
    path = folder / "source.toml"
    head = path.read_text(encoding="utf-8").partition("[source]")[0]
    lines = [
        "[source]",
        *(f"{key} = {_quoted(value)}" for key, value in origin.items()),
        "",
        "[select]",
        "operations = [",
    ]
    lines += [*(f"  {_quoted(operation)}," for operation in newer.record.operations), "]"]
    if newer.record.schemas:
        lines += ["schemas = [", *(f"  {_quoted(name)}," for name in newer.record.schemas), "]"]
    if not newer.record.policies:
        lines.append("policies = false")
    path.write_text(head + "\n".join([*lines, ""]), encoding="utf-8")


def _quoted(value: str) -> str:
    """A TOML string: JSON's escapes are TOML's."""
    return json.dumps(value, ensure_ascii=False)


def is_inference(operation: str) -> bool:
    """Whether an operation asks a model for something: the kind of operation a gateway would want to offer."""
    return bool(re.match(r"post /(chat|completions|embeddings|responses|moderations|images|audio|videos)\b", operation))
