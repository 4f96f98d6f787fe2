"""The packages: the same bytes wherever they are built, and an installation of the wheel that lacks nothing."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from email.parser import Parser
from pathlib import Path

import pytest

from scripts.release_check import version
from tests.support.client import get, post
from tests.support.gateway import LiveGateway, clean_environment, running_program
from tests.support.uv import find_uv

ROOT = Path(__file__).parents[2]
SOURCES = ["src", "generated", "docs", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", ".gitignore"]
WHEEL = f"universal_ai_gateway-{version()}-py3-none-any.whl"
ARCHIVE = f"universal_ai_gateway-{version()}.tar.gz"
pytestmark = pytest.mark.slow


def _found(python: str) -> str | None:
    """The interpreter itself: what stands on PATH may be a version manager's, which goes by the directory."""
    found = _output([ROOT / "scripts" / "find_python.sh", python])
    return _output([found, "-c", "import sys; print(sys.executable)"]) if found else None


def _output(command: Sequence[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()


PYTHONS = {python: path for python in ("3.12", "3.13", "3.14") if (path := _found(python))}


def _uv(*arguments: str | Path, cwd: Path, **env: str) -> None:
    done = subprocess.run(
        [find_uv(), *arguments],
        cwd=cwd,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never", **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _build(tree: Path, *options: str, **env: str) -> Path:
    """Build as `make dist` does, with the build system that the lock file names."""
    _uv("build", "-q", "--offline", "--no-build-isolation", "--python", sys.executable, *options, cwd=tree, **env)
    return tree / "dist"


def _copy(target: Path, *, modified: int, mode: int) -> Path:
    """The sources somewhere else, checked out at another time and by somebody with another umask."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)
    for path in target.rglob("*"):
        os.utime(path, (modified, modified))
        if path.is_file():
            path.chmod(mode)
    return target


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, and the wheel that was built from it."""
    return _build(_copy(tmp_path_factory.mktemp("first") / "tree", modified=1_700_000_000, mode=0o644))


@pytest.mark.parametrize("name", [WHEEL, ARCHIVE])
def test_another_copy_of_the_sources_makes_the_same_bytes(name: str, dist: Path, tmp_path: Path) -> None:
    elsewhere = _copy(tmp_path / "quite" / "elsewhere", modified=1_800_000_000, mode=0o600)
    assert (_build(elsewhere, TZ="Asia/Tokyo") / name).read_bytes() == (dist / name).read_bytes()


def test_the_wheel_of_the_sources_is_the_one_of_the_archive(dist: Path, tmp_path: Path) -> None:
    tree = _copy(tmp_path / "tree", modified=1_600_000_000, mode=0o644)
    assert (_build(tree, "--wheel") / WHEEL).read_bytes() == (dist / WHEEL).read_bytes()


def test_the_archive_holds_what_builds_the_wheel_and_nothing_of_the_tests(dist: Path) -> None:
    with tarfile.open(dist / ARCHIVE) as archive:
        names = {name.split("/")[1] for name in archive.getnames()}
    assert names == {*SOURCES, "PKG-INFO"}


def test_the_wheel_holds_the_contract_and_every_page(dist: Path) -> None:
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = set(wheel.namelist())
        metadata = Parser().parsestr(wheel.read(f"{WHEEL.rpartition('-py3')[0]}.dist-info/METADATA").decode())
    docs = ROOT / "docs"
    pages = {f"ai_gateway/documentation/{path.relative_to(docs)}" for path in docs.rglob("*.md")}
    assert {"gateway_contract/openapi.json", "ai_gateway/py.typed", *pages} <= names
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.12"
    assert set(metadata.get_all("Provides-Extra") or []) >= {"postgres", "valkey", "otel"}


# --- an installation of it -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=PYTHONS)
def installed(request: pytest.FixtureRequest, dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment that has the wheel and what it needs, at the versions of the lock file."""
    place = tmp_path_factory.mktemp("installed")
    _uv(
        "export",
        "-q",
        "--offline",
        "--frozen",
        "--no-emit-project",
        "--no-default-groups",
        "-o",
        place / "run.txt",
        cwd=ROOT,
    )
    _uv("venv", "-q", "--no-config", "--python", PYTHONS[request.param], place / "env", cwd=place)
    environment = {"VIRTUAL_ENV": str(place / "env")}
    _uv("pip", "install", "-q", "--require-hashes", "-r", place / "run.txt", cwd=place, **environment)
    _uv("pip", "install", "-q", "--offline", "--no-deps", dist / WHEEL, cwd=place, **environment)
    _uv("pip", "check", "-q", cwd=place, **environment)
    return place / "env" / "bin" / "ai-gateway"


@pytest.fixture(scope="module")
def home(installed: Path) -> Path:
    place = installed.parents[2] / "home"
    place.mkdir()
    return place


@pytest.fixture(scope="module")
def live(installed: Path, home: Path) -> Iterator[LiveGateway]:
    with running_program(home, [str(installed), "serve"]) as running:
        yield running


def _run(command: Sequence[str | Path], home: Path) -> str:
    done = subprocess.run(
        command, env=clean_environment(str(home), {}), cwd=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_answers_and_makes_keys(installed: Path, home: Path, live: LiveGateway) -> None:
    assert get(live, "/healthz", key=None).status_code == 200
    assert get(live, "/v1/version", key=None).json()["version"] == version()
    page = get(live, "/docs", key=None)
    assert page.status_code == 200
    assert "/v1/chat/completions" in page.text
    chat = {"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}
    assert post(live, "/custom/v1/chat/completions", chat, key=None).status_code == 200

    key = re.search(r"sk-gw-[0-9A-Za-z]{49}", _run([installed, "keys", "create", "alice"], home))
    assert key
    keyed = post(live, "/custom/v1/chat/completions", chat, key=key[0])
    assert keyed.json()["choices"][0]["finish_reason"] == "stop"


def test_the_pages_that_its_messages_name_are_there(installed: Path, home: Path) -> None:
    assert _run([installed, "docs", "docs/errors.md"], home) == (ROOT / "docs" / "errors.md").read_text("utf-8")
