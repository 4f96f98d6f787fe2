"""The command line inside the tests' own process, for tests that are not about its process, which takes a second."""

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from threading import Timer
from warnings import catch_warnings

from typer.testing import CliRunner

from ai_gateway.cli import app
from ai_gateway.providers.config.plugins import known_rows
from tests.support.gateway import clean_environment

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Ended:
    """How a command ended, as `subprocess.CompletedProcess` has it."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*arguments: str, **env: str) -> Ended:
    """A command that ends by itself, in an empty directory and with only the environment given."""
    with (
        tempfile.TemporaryDirectory(prefix="gateway-") as home,
        chdir(home),
        only(clean_environment(home, env)),
        importing(env.get("PYTHONPATH")),
        catch_warnings(action="ignore", category=ResourceWarning),  # the end of its process would close all it has
    ):
        gc.disable()  # so that all that the command makes is young, and nothing else is looked through for it
        try:
            ended = _invoke(arguments)
        finally:
            gc.collect(0)
            gc.enable()
    return ended


def _invoke(arguments: tuple[str, ...]) -> Ended:
    # A `serve` that is not refused would serve for ever: it is told to stop, and answers with exit code 0.
    patience = Timer(PATIENCE_S, os.kill, (os.getpid(), signal.SIGTERM))
    patience.start()
    try:
        result = CliRunner().invoke(app, arguments)
    finally:
        patience.cancel()
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


@contextmanager
def importing(place: str | None) -> Iterator[None]:
    """Packages from this directory too, as a process finds them by its PYTHONPATH."""
    if place is None:
        yield
        return
    known = set(sys.modules)
    sys.path.insert(0, place)
    known_rows.cache_clear()  # a process looks for plugins once
    try:
        yield
    finally:
        sys.path.remove(place)
        known_rows.cache_clear()
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(place):
                del sys.modules[name]


@contextmanager
def only(env: dict[str, str]) -> Iterator[None]:
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
