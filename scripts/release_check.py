"""Whether a tag can be released: `make release-check TAG=v1.2.3`.

The version is stated once, in pyproject.toml. What repeats it, because its reader knows no Python, has to agree.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def version() -> str:
    """The version of the package."""
    stated: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return stated


def problems(tag: str) -> Iterator[str]:
    """What has to be mended before this tag is released, a line each."""
    stated = version()
    if tag != f"v{stated}":
        yield f"the tag is {tag or 'missing'}, and the version in pyproject.toml makes it v{stated}"
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## \[{re.escape(stated)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", changelog, re.MULTILINE):
        yield f"CHANGELOG.md has no section of {stated} with a date"
    yield from stale(stated)


def stale(stated: str) -> Iterator[str]:
    """Where in deploy/ another version is stated."""
    chart = yaml.safe_load((ROOT / "deploy/helm/ai-gateway/Chart.yaml").read_text("utf-8"))
    for field in ("version", "appVersion"):
        if chart[field] != stated:
            yield f"deploy/helm/ai-gateway/Chart.yaml: {field} is {chart[field]}, not {stated}"
    files = [ROOT / "deploy" / "compose.yaml", *(ROOT / "deploy" / "kubernetes").glob("overlays/*/kustomization.yaml")]
    for path in files:
        named = re.findall(r"(?:image: ai-gateway:|newTag: )(\S+)", path.read_text("utf-8"))
        if set(named) != {stated}:
            yield f"{path.relative_to(ROOT)}: names {', '.join(named) or 'none'}, not {stated}"


def main() -> int:
    """The exit code."""
    found = list(problems(sys.argv[1] if len(sys.argv) > 1 else ""))
    for line in found:
        print(f"release-check: {line}", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
