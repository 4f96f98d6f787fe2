"""A store of its own for each test, and a gateway beside it for those that need one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.command import Ended, run_command
from tests.support.gateway import LiveGateway, running_gateway


@dataclass(frozen=True)
class CommandLine:
    """Runs `ai-gateway` on one store, or with `--url` on one gateway."""

    env: dict[str, str]
    options: tuple[str, ...] = ()

    def __call__(self, *arguments: str, code: int = 0, **env: str) -> Ended:
        ended = run_command(*arguments, *self.options, **{**self.env, **env})
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr
        return ended

    def json(self, *arguments: str) -> Any:
        """What a command prints for programs."""
        return json.loads(self(*arguments, "--json").stdout)

    def refused(self, *arguments: str, code: int = 1, **env: str) -> str:
        """Why a command is refused."""
        ended = self(*arguments, code=code, **env)
        assert ended.stdout == ""
        return ended.stderr


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command line on a store that is empty."""
    return CommandLine({"GATEWAY_DATA_DIR": str(tmp_path / "data")})


@pytest.fixture(scope="package")
def administered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveGateway, Path]]:
    """A gateway with an administrator's key, and its data directory."""
    data = tmp_path_factory.mktemp("administered") / "data"
    with running_gateway(GATEWAY_DATA_DIR=str(data), ADMIN_API_KEY=ADMIN_KEY) as live:
        yield live, data


@pytest.fixture(scope="package")
def beside(administered: tuple[LiveGateway, Path]) -> CommandLine:
    """The command line on the store of a gateway that runs."""
    return CommandLine({"GATEWAY_DATA_DIR": str(administered[1])})


@pytest.fixture(scope="package")
def remote(administered: tuple[LiveGateway, Path]) -> CommandLine:
    """The command line by way of that gateway."""
    return CommandLine({"ADMIN_API_KEY": ADMIN_KEY}, ("--url", administered[0].base_url))


@pytest.fixture(scope="package")
def admin(administered: tuple[LiveGateway, Path]) -> Administrator:
    """The Administration API of that gateway."""
    return Administrator(administered[0])
