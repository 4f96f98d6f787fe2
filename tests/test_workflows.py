"""The files below .github: valid, and workflows that are given little, run pinned code, and do what developers do."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.release_check import problems, version
from tests.support.schemas_of_tools import violations

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
# What a job may ask for beyond reading the source, and why it does.
GRANTED = {
    ("ci.yml", "test"): {"contents": "read"},
    ("ci.yml", "other-pythons"): {"contents": "read"},
    ("ci.yml", "vulnerabilities"): {"contents": "read"},
    ("ci.yml", "image"): {"contents": "read"},
    ("nightly.yml", "long"): {"contents": "read"},
    ("release.yml", "build"): {"contents": "read", "id-token": "write", "attestations": "write"},
    ("release.yml", "packages"): {"id-token": "write"},
    ("release.yml", "image"): {
        "contents": "read",
        "packages": "write",
        "id-token": "write",
        "attestations": "write",
    },
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2, as GitHub reads it: `on` is a word and no truth value."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a safe loader
    return document


def _jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in _read(path)["jobs"].items():
            yield path.name, name, job


def _steps() -> Iterator[dict[str, Any]]:
    for _, _, job in _jobs():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_valid(path: Path) -> None:
    assert violations("github-workflows", _read(path)) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dependabot.yml", "dependabot"),
        ("ISSUE_TEMPLATE/config.yml", "github-issue-config"),
        ("ISSUE_TEMPLATE/bug.yml", "github-issue-forms"),
        ("ISSUE_TEMPLATE/provider.yml", "github-issue-forms"),
    ],
)
def test_what_else_github_reads_is_valid(name: str, kind: str) -> None:
    assert violations(kind, _read(GITHUB / name)) == []


def test_the_schemas_tell_what_is_invalid() -> None:
    assert violations("github-workflows", {"on": "push", "jobs": {"test": {"step": []}}})
    assert violations("dependabot", {"version": 2, "updates": [{"package-ecosystem": "uvx"}]})


def test_zizmor_finds_nothing_in_the_strictest_mode_that_is_meant_for_projects() -> None:
    zizmor = str(Path(sys.executable).with_name("zizmor"))
    command = [zizmor, "--offline", "--persona", "pedantic", "--no-progress", str(GITHUB)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_every_job_has_exactly_the_permissions_that_are_listed_and_a_bound_in_time() -> None:
    assert {(file, name): job["permissions"] for file, name, job in _jobs()} == GRANTED
    assert all(0 < job["timeout-minutes"] <= 180 for _, _, job in _jobs())
    assert all(_read(path)["permissions"] == {} for path in WORKFLOWS)


def test_every_action_is_pinned_by_commit_with_its_version_beside_it() -> None:
    used = [line for path in WORKFLOWS for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert used
    pinned = re.compile(r"\s*- uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in used if not pinned.fullmatch(line)] == []


def test_one_action_is_pinned_at_one_commit_everywhere() -> None:
    used = {step["uses"] for step in _steps() if "uses" in step}
    assert len({action.partition("@")[0] for action in used}) == len(used)


def test_no_job_keeps_the_credentials_that_its_source_came_with() -> None:
    checkouts = [step for step in _steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def _commands() -> Iterator[list[str]]:
    """Each command of a step, for each value of a matrix that it runs with."""
    for _, _, job in _jobs():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job["steps"]:
            if "run" not in step:
                continue
            command = step["run"].strip()
            values = [matrix[name] for name in ("target", "python") if name in matrix] or [[""]]
            for value in values[0]:
                yield command.replace('"$TARGET"', value).replace('"$PYTHON"', value).split()


def test_ci_runs_the_very_commands_that_developers_run() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = list(_commands())
    assert ["make", "test"] in commands
    assert ["make", "unit", "PYTHON=3.14"] in commands
    assert ["make", "soak"] in commands
    assert [command for command in commands if command[0] != "make" or command[1] not in targets] == []


def test_every_python_that_the_package_names_is_tested() -> None:
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    matrix = _read(GITHUB / "workflows" / "ci.yml")["jobs"]["other-pythons"]["strategy"]["matrix"]["python"]
    assert named == ["3.12", *matrix]
    assert f"PYTHONS := {' '.join(named)}" in (ROOT / "Makefile").read_text("utf-8")


# --- a release -------------------------------------------------------------------------------------------------------


def test_the_tag_of_the_version_can_be_released_and_another_cannot() -> None:
    assert list(problems(f"v{version()}")) == []
    assert list(problems("v99.0.0")) == [f"the tag is v99.0.0, and the version in pyproject.toml makes it v{version()}"]
    assert list(problems(""))


def test_the_image_is_pushed_under_the_version_that_the_deployment_files_name() -> None:
    job = _read(GITHUB / "workflows" / "release.yml")["jobs"]["image"]
    assert job["env"] == {"IMAGE_NAME": "${{ vars.IMAGE }}"}
    environment = {**os.environ, "IMAGE_NAME": "registry.example.com/gateway"}
    command = ["make", "--dry-run", "image"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert f'scripts/image.sh "registry.example.com/gateway:{version()}"' in done.stdout


def test_publishing_takes_no_token_and_waits_for_what_was_built_and_signed() -> None:
    release = _read(GITHUB / "workflows" / "release.yml")["jobs"]
    assert release["packages"]["needs"] == "build"
    assert release["image"]["needs"] == "build"
    text = (GITHUB / "workflows" / "release.yml").read_text("utf-8")
    assert set(re.findall(r"secrets\.(\w+)", text)) == {"GITHUB_TOKEN"}
    attested = [
        step["with"] for step in release["build"]["steps"] if step.get("uses", "").startswith("actions/attest@")
    ]
    assert attested == [
        {"subject-path": "dist/*"},
        {"subject-path": "dist/*.whl", "sbom-path": "dist/sbom.cdx.json"},
    ]
