"""The command line inside the tests' own process, for tests that are not about its process, which takes a second."""

import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from warnings import catch_warnings

from typer.testing import CliRunner

from ai_gateway.cli import app
from tests.support.gateway import clean_environment


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
        catch_warnings(action="ignore", category=ResourceWarning),  # the end of its process would close all it has
    ):
        result = CliRunner().invoke(app, arguments)
        gc.collect()
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


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
