"""OpenAI's own tests of its SDK: they come with its source distribution, and get an environment of their own."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.uv import ROOT, find_uv

SDK = "openai==3.57.0"
NEEDED = ("openai[aiohttp]==3.57.0", "pytest", "pytest-asyncio", "rich", "pip")


def sdk_sources() -> Path:
    """The SDK's sources and an environment that can run its tests beside them, which are made once."""
    place = ROOT / ".clients" / SDK
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        uv, python = find_uv(), place / "venv" / "bin" / "python"
        commands: list[list[str | Path]] = [
            [uv, "venv", "--quiet", "--python", sys.executable, place / "venv"],
            [uv, "pip", "install", "--quiet", "--python", python, *NEEDED],
            [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "openai", "-d", place, SDK],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                pytest.skip(f"{SDK} and its tests cannot be installed here: {done.stderr[-500:]}")
        (archive,) = place.glob("openai-*.tar.gz")
        with tarfile.open(archive) as sources:
            sources.extractall(place, filter="data")
        (place / "complete").touch()
    return place / SDK.replace("==", "-")
