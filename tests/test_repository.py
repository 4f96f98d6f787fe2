"""The repository as others get it: neutral locks, no traces of a machine, and build files that hold what they say."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import pytest
import yaml

from scripts.neutral_lock import neutralise
from tests.support.gateway import LiveGateway, closed_port
from tests.support.uv import find_uv

ROOT = Path(__file__).parents[1]
# In pieces, so that this file does not hold what it looks for.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("proxy", "golang"),
        ("ghcr", "io"),
        ("docker", "io"),
    )
]
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:work|home|root|Users)/[\w.]|[A-Z]:\\\\?Users\\")
LOCKS = ["uv.lock", "tests/contract/node/package-lock.json"]


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is, or would be, part of the repository; of a tree without git, what no tool has made."""
    if (ROOT / ".git").exists():
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return tuple(ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())
    made = re.compile(
        r"\.(venv.*|uv|git|\w+_cache|hypothesis|schemathesis|coverage.*)|__pycache__|node_modules|htmlcov|dist"
    )
    return tuple(
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not any(made.fullmatch(part) for part in path.relative_to(ROOT).parts)
    )


def _holding(needle: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if needle.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return found


# --- nothing of a machine --------------------------------------------------------------------------------------------


def test_no_file_names_a_package_registry() -> None:
    assert _holding(re.compile("|".join(map(re.escape, REGISTRIES)))) == []


def test_no_file_names_a_path_of_some_machine() -> None:
    assert _holding(MACHINE_PATH) == []


def test_the_search_for_machine_paths_finds_them() -> None:
    assert MACHINE_PATH.search('root = "/' + 'home/somebody/gateway"')
    assert not MACHINE_PATH.search("see docs/work/page.md or ./root/file")


def test_there_is_a_lock_file_for_each_ecosystem_and_no_other() -> None:
    names = {"uv.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml", "poetry.lock", "Pipfile.lock"}
    assert {path.relative_to(ROOT).as_posix() for path in tracked() if path.name in names} == set(LOCKS)


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_file_holds_an_address(lock: str) -> None:
    assert "://" not in _text(lock)


def test_the_locks_pin_by_hash() -> None:
    lock = tomllib.loads(_text("uv.lock"))
    for package in lock["package"]:
        if package["source"] == {"registry": "index"}:
            files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
            assert files, package["name"]
            assert all(file["hash"].startswith("sha256:") for file in files), package["name"]
    packages = json.loads(_text("tests/contract/node/package-lock.json"))["packages"]
    assert all(package["integrity"] for name, package in packages.items() if name)


# --- the lock's neutraliser ------------------------------------------------------------------------------------------

INDEX = "https://index.example.com"
LOCK = f"""\
version = 1

[[package]]
name = "thing"
version = "1.0"
source = {{ registry = "{INDEX}/simple" }}
sdist = {{ url = "{INDEX}/files/aa/thing-1.0.tar.gz", hash = "sha256:aa", size = 9, upload-time = "2026-01-01T00:00Z" }}
wheels = [
    {{ url = "{INDEX}/files/bb/thing-1.0-py3-none-any.whl", hash = "sha256:bb", size = 20 }},
]
"""


def test_a_neutral_lock_keeps_names_versions_and_hashes_and_nothing_of_the_index() -> None:
    package = tomllib.loads(neutralise(LOCK))["package"][0]
    assert package == {
        "name": "thing",
        "version": "1.0",
        "source": {"registry": "index"},
        "sdist": {"filename": "thing-1.0.tar.gz", "hash": "sha256:aa"},
        "wheels": [{"filename": "thing-1.0-py3-none-any.whl", "hash": "sha256:bb"}],
    }


def test_making_a_lock_neutral_twice_changes_nothing_more() -> None:
    once = neutralise(LOCK)
    assert neutralise(once) == once
    assert neutralise(_text("uv.lock")) == _text("uv.lock")


def _neutral_lock(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "neutral_lock.py"), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_script_rewrites_a_lock_in_place(tmp_path: Path) -> None:
    path = tmp_path / "uv.lock"
    path.write_text(LOCK, encoding="utf-8")
    assert _neutral_lock(path).returncode == 0
    assert path.read_text(encoding="utf-8") == neutralise(LOCK)


def test_an_address_that_is_left_fails_the_script_and_leaves_the_lock_alone(tmp_path: Path) -> None:
    path = tmp_path / "uv.lock"
    lock = LOCK + f'\n[[package]]\nname = "forked"\nsource = {{ git = "{INDEX}/forked?rev=1#abc" }}\n'
    path.write_text(lock, encoding="utf-8")
    done = _neutral_lock(path)
    assert done.returncode == 1
    assert "an address is left" in done.stderr
    assert path.read_text(encoding="utf-8") == lock


# --- the project's own files -----------------------------------------------------------------------------------------


def test_the_changelog_has_the_version_of_the_package_and_a_place_for_the_next() -> None:
    version = tomllib.loads(_text("pyproject.toml"))["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", _text("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert version in headings


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", _text("Makefile"), re.MULTILINE))


def _ci_run(tree: Path, recipe: str) -> subprocess.CompletedProcess[str]:
    (tree / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tree / ".ci" / "run")
    (tree / "Makefile").write_text(f"test:\n\t@{recipe}\n", encoding="utf-8")
    return subprocess.run(
        [tree / ".ci" / "run"],
        cwd=tree.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("code", [0, 1])
def test_the_ci_script_keeps_the_exit_code_and_ends_with_the_closing_line(code: int, tmp_path: Path) -> None:
    closing = "=================== 1 failed, 3 passed in 61.20s (0:01:01) ==================="
    done = _ci_run(tmp_path, f"echo '{closing}'; exit {code}")
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == closing


def test_the_ci_script_fails_when_nothing_was_tested_at_all(tmp_path: Path) -> None:
    assert _ci_run(tmp_path, "echo 'no Python' >&2; exit 3").returncode == 3


def test_commit_hooks_are_local_and_run_what_the_makefile_runs() -> None:
    repositories = yaml.safe_load(_text(".pre-commit-config.yaml"))["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    for hook in repositories[0]["hooks"]:
        tool, target = hook["entry"].split()
        assert tool == "make"
        assert target in _targets()


# --- the image -------------------------------------------------------------------------------------------------------


def _instructions(name: str) -> list[str]:
    """The arguments of every such instruction of the Dockerfile, each on one line."""
    joined = re.sub(r"\\\n\s*", "", _text("Dockerfile"))
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def _commands(starting: str) -> list[list[str]]:
    commands = [command.split() for run in _instructions("RUN") for command in run.split("&&")]
    return [command for command in commands if command[: len(starting.split())] == starting.split()]


def test_the_image_is_built_on_a_base_and_by_a_uv_that_cannot_change() -> None:
    base, *stages = _instructions("FROM")
    assert re.fullmatch(r"python:3\.12-\S+@sha256:[0-9a-f]{64} AS base", base), "where Dependabot renews it"
    assert stages == ["base AS build", "base"]
    (install,) = _commands("python -m pip install")
    assert install[-3:] == ["--require-hashes", "-r", "uv.txt"]
    pinned = _text("scripts/uv.txt")
    assert re.search(r"^uv==[0-9.]+ ", pinned, re.MULTILINE)
    assert pinned.count("--hash=sha256:") > 10


def test_the_health_check_of_the_image_tells_a_live_gateway_from_none(gateway: LiveGateway) -> None:
    code = json.loads(_instructions("HEALTHCHECK")[0].partition("CMD ")[2])[2]

    def healthy(port: int) -> bool:
        command = [sys.executable, "-c", code]
        env = {"SERVICE_PORT": str(port), "HOME": "/nonexistent"}
        done = subprocess.run(command, env=env, capture_output=True, check=False)
        return done.returncode == 0

    assert healthy(gateway.port)
    with closed_port() as port:
        assert not healthy(port)


@pytest.mark.slow
def test_the_image_gets_a_hash_for_everything_it_installs(tmp_path: Path) -> None:
    _copy_sources(tmp_path)
    exports = _commands("uv export")
    assert exports
    for command in exports:
        run = [find_uv(), "--offline", "--no-config", "--no-cache", *command[1:]]
        subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, timeout=240)
        text = (tmp_path / command[-1]).read_text(encoding="utf-8").replace("\\\n", "")
        pinned = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
        assert pinned
        assert not [line for line in pinned if not re.match(r"\S+==\S+ .*--hash=sha256:", line)]


@pytest.mark.slow
def test_the_image_can_be_built_from_what_it_copies(tmp_path: Path) -> None:
    _copy_sources(tmp_path)
    command = _commands("/opt/build/bin/python -m hatchling")[0]
    run = [sys.executable, *command[1:]]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "ai_gateway/cli/commands.py" in names
    assert "gateway_contract/openapi.json" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def _copy_sources(target: Path) -> None:
    """What the build stage copies, which the build context has to let through."""
    allowed = {line[1:] for line in _text(".dockerignore").splitlines() if line.startswith("!")}
    assert "*" in _text(".dockerignore").splitlines()
    for copied in _instructions("COPY"):
        *sources, destination = copied.split()
        if sources[0].startswith("--from"):
            continue
        for source in sources:
            assert source in allowed
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, target / destination, ignore=ignored)
            else:
                shutil.copy(ROOT / source, target / destination)
