"""From `spec/` to the contract: each source corrected by its overlays and rules, then all merged into one document."""

from dataclasses import dataclass
from pathlib import Path

from scripts.contract import overlay, rules
from scripts.contract.documents import Json, read


@dataclass(frozen=True)
class Source:
    """One contract: its name, which is also its package below `gateway_contract`, and where its facts stand."""

    name: str
    facts: str


SOURCES = (Source("openai", "openai/facts.yaml"), Source("gateway", "gateway.yaml"))


def corrected(spec: Path, source: Source) -> Json:
    """The facts of a source after every overlay that extends them, in file-name order, and the rules."""
    facts = (spec / source.facts).resolve()
    document = read(facts)
    for path in sorted((spec / "overlay").glob("*.yaml")):
        extends = read(path).get("extends")
        if extends and (path.parent / extends).resolve() == facts:
            document = overlay.apply_file(document, path)
    return rules.apply_file(document, spec / "overlay" / "rules.yaml", source.name)


def merged(documents: list[Json], info: Json) -> Json:
    """One document that offers what all offer. A name that two of them define is an error, not a guess."""
    contract: Json = {"openapi": "3.1.0", "info": info, "security": [], "paths": {}, "components": {}}
    for document in documents:
        contract["security"] = contract["security"] or document.get("security", [])
        _disjoint(contract["paths"], document["paths"], "path")
        for kind, named in document["components"].items():
            _disjoint(contract["components"].setdefault(kind, {}), named, kind)
    if not contract["security"]:
        raise SystemExit("The contract has no security: say in an overlay who may call.")
    return contract


def _disjoint(into: Json, named: Json, kind: str) -> None:
    twice = set(into) & set(named)
    if twice:
        raise SystemExit(f"Defined twice ({kind}): {', '.join(sorted(twice))}")
    into.update(named)
