"""Programs from the npm registry that come as a binary for each kind of machine."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.uv import ROOT


def npm_program(package: str, place_of: str) -> Path:
    """The program at `place_of` under `node_modules`, installed once per machine; no package's scripts are run.

    Skips the test where it cannot be installed, or is not for this machine.
    """
    place = ROOT / ".clients" / package.replace("/", "-")
    if not (place / "complete").exists():
        npm = shutil.which("npm") or pytest.skip("npm is not installed")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        command = [npm, "install", "--prefix", str(place), "--no-fund", "--ignore-scripts", "--loglevel=error"]
        done = subprocess.run([*command, package], cwd=place, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.skip(f"{package} cannot be installed here: {done.stderr[-300:]}")
        (place / "complete").touch()
    program = place / "node_modules" / place_of
    return program if program.exists() else pytest.skip(f"{package} has no program at {place_of}")
