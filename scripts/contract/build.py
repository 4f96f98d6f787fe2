"""From `spec/` to the contract: each source corrected by its overlays and rules, then all merged into one document."""

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from scripts.contract import overlay, rules
from scripts.contract.documents import Json, operations, read
from scripts.contract.one_path import join_operations, shared_operations
from scripts.contract.vendor import read_source


@dataclass(frozen=True)
class Source:
    """One contract: its name, which is also its package below `gateway_contract`, and where its facts stand.

    `policies` says that adapters declare a policy for every field of its requests.
    """

    name: str
    facts: str
    policies: bool = True


GATEWAY = Source("gateway", "gateway.yaml", policies=False)


def sources(spec: Path) -> tuple[Source, ...]:
    """Every contract: OpenAI's, which the product is named for, then what else is vendored, then the gateway's own."""
    names = sorted((path.parent.name for path in spec.glob("*/source.toml")), key=lambda name: (name != "openai", name))
    if wrong := [name for name in names if not name.isidentifier()]:
        raise SystemExit(f"spec/{', spec/'.join(wrong)}: a folder's name is a package's name: letters, digits and `_`")
    return (*(Source(name, f"{name}/facts.yaml", read_source(spec / name).policies) for name in names), GATEWAY)


def corrected(spec: Path, source: Source) -> Json:
    """The facts of a source after every overlay that extends them, in file-name order, and the rules."""
    document = read(spec / source.facts)
    for path in _overlays(spec, source):
        document = overlay.apply_file(document, path)
    known = {each.name for each in sources(spec)}
    return rules.apply_file(_in_words(document), spec / "overlay" / "rules.yaml", source.name, known)


def _overlays(spec: Path, source: Source) -> Iterator[Path]:
    """The overlays that extend a source. One that extends nothing we know is an error: it would be lost silently."""
    known = {(spec / each.facts).resolve() for each in sources(spec)}
    for path in sorted((spec / "overlay").glob("*.yaml")):
        if path.name == "rules.yaml":
            continue
        extends = (path.parent / read(path).get("extends", "")).resolve()
        if extends not in known:
            raise SystemExit(f"{path.name}: `extends` has to name one of {', '.join(s.facts for s in sources(spec))}")
        if extends == (spec / source.facts).resolve():
            yield path


def _in_words(document: Json) -> Json:
    """A line of their own for operations and replies that no overlay describes yet, as OpenAPI requires one."""
    document = deepcopy(document)
    replies = [(name, reply) for name, reply in document["components"].get("responses", {}).items()]
    for _, _, operation in operations(document):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", operation["operationId"])
        operation.setdefault("summary", words.capitalize())
        replies += [(f"Status {status}", reply) for status, reply in operation["responses"].items()]
    for name, reply in replies:
        if "$ref" not in reply:
            reply.setdefault("description", f"{name}.")
    return document


def merged(documents: list[Json], info: Json) -> Json:
    """One document that offers what all offer. A name that two of them define differently is an error, not a guess.

    One path may be another document's as well where a header decides between the two (scripts/contract/one_path.py).
    """
    contract: Json = {"openapi": "3.1.0", "info": info, "paths": {}, "components": {}}
    shared: list[tuple[str, str, Json]] = []
    for document in documents:
        for _, _, operation in operations(document):
            # Each document's own rule, said at each operation: another document's must not apply by accident.
            if operation.setdefault("security", document.get("security")) is None:
                raise SystemExit(f"{operation['operationId']} has no security: say in an overlay who may call.")
        both = shared_operations(contract["paths"], document["paths"])
        shared += both
        others = {path: item for path, item in document["paths"].items() if path not in {path for path, _, _ in both}}
        _disjoint(contract["paths"], others, "path")
        for kind, named in document["components"].items():
            _disjoint(contract["components"].setdefault(kind, {}), named, kind)
    for share in shared:
        join_operations(contract, *share)
    return contract


def _disjoint(into: Json, named: Json, kind: str) -> None:
    twice = [name for name in sorted(set(into) & set(named)) if kind == "path" or into[name] != named[name]]
    if twice:
        raise SystemExit(f"Defined twice ({kind}): {', '.join(twice)}. Rename them by a rule (`prefix-names`).")
    into.update(named)
