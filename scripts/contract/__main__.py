"""The contract pipeline: `python -m scripts.contract gen | check | update SPEC`."""

import argparse
import sys
from pathlib import Path

from scripts.contract.drift import report
from scripts.contract.generate import generate, stale
from scripts.contract.vendor import read_source, vendored, write_vendored

ROOT = Path(__file__).resolve().parents[2]


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run one step; the exit code is 1 when `check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m scripts.contract", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree that holds spec/ and generated/")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("gen", help="write generated/ from spec/")
    steps.add_parser("check", help="fail if generated/ is not what spec/ generates")
    update = steps.add_parser("update", help="take a newer official document")
    update.add_argument("document", type=Path, help="the official OpenAPI document, YAML or JSON")
    update.add_argument("--contract", default="openai", help="which folder of spec/ it refreshes (default: openai)")
    update.add_argument("--add", action="append", default=[], metavar="OPERATION", help="also select 'post /path'")
    update.add_argument("--commit", help="the document's commit, recorded in source.toml")
    update.add_argument("--date", help="the document's date, recorded in source.toml")
    update.add_argument("--sha256", help="the whole official document's hash, if the file given is an extract of it")
    update.add_argument("--dry-run", action="store_true", help="print the report and write nothing")
    chosen = parser.parse_args(arguments)
    spec, generated = chosen.root / "spec", chosen.root / "generated"
    if chosen.step == "gen":
        generate(spec, generated, _say)
        return 0
    if chosen.step == "check":
        return _check(spec, generated)
    return _update(spec, chosen)


def _check(spec: Path, generated: Path) -> int:
    differing = stale(spec, generated, _say)
    if differing:
        print("generated/ is not what spec/ generates; run `make gen`. Stale:", *differing, sep="\n  ", file=sys.stderr)
        return 1
    print("generated/ is exactly what spec/ generates")
    return 0


def _update(spec: Path, chosen: argparse.Namespace) -> int:
    folder = spec / chosen.contract
    source = read_source(folder).select(chosen.add)
    if not chosen.document.is_file():
        raise SystemExit(f"{chosen.document}: no such file. Name a downloaded OpenAPI document.")
    _say(f"reading {chosen.document.name}")
    newer = vendored(chosen.document, source)
    for line in report(folder / "facts.yaml", newer.facts, newer.offered):
        _say(line)
    if not chosen.dry_run:
        write_vendored(folder, newer, commit=chosen.commit, date=chosen.date, sha256=chosen.sha256)
        _say(f"wrote {folder.name}/facts.yaml and source.toml; next: make gen")
    return 0


if __name__ == "__main__":
    sys.exit(main())
