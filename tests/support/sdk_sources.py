"""Vendors' own tests of their SDKs: they come with the source distribution, and get an environment of their own."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.uv import ROOT, find_uv

OPENAI = "openai==3.57.0"
ANTHROPIC = "anthropic==2.14.0"
_NEEDED = (
    "pytest",
    "pytest-asyncio",
    "rich",
    "pip",
    "inline-snapshot",
    "respx",
    "dirty-equals",
    "http-snapshot[httpx]",
)


def sdk_sources(sdk: str = OPENAI) -> Path:
    """The SDK's sources and an environment that can run its tests beside them, which are made once."""
    place = ROOT / ".clients" / sdk
    name, version = sdk.split("==")
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        uv, python = find_uv(), place / "venv" / "bin" / "python"
        commands: list[list[str | Path]] = [
            [uv, "venv", "--quiet", "--python", sys.executable, place / "venv"],
            [uv, "pip", "install", "--quiet", "--python", python, *_NEEDED, f"{name}[aiohttp]=={version}"],
            [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "-d", place, sdk],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                pytest.skip(f"{sdk} and its tests cannot be installed here: {done.stderr[-500:]}")
        (archive,) = place.glob(f"{name}-*.tar.gz")
        with tarfile.open(archive) as sources:
            sources.extractall(place, filter="data")
        (place / "complete").touch()
    return place / sdk.replace("==", "-")


def passed_by(suite: Path, base_url: str, *arguments: str) -> int:
    """Run tests of the suite against this address, and say how many passed: a failed one fails the caller."""
    ran = subprocess.run(
        [suite.parent / "venv" / "bin" / "python", "-m", "pytest", "-q", "-o", "addopts=", *arguments],
        cwd=suite,
        env={"PATH": os.environ["PATH"], "HOME": str(suite.parent), "TEST_API_BASE_URL": base_url},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed, ran.stdout[-2000:]
    return int(passed[1])
