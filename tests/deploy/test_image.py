"""The image's own commands, with its variables, where everything but its volume is read-only, as a container is run.

No container engine is needed: the file systems of this machine are made read-only for one process.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import get, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_program

ROOT = Path(__file__).parents[2]
# The volume stays as it is; whatever else may be a file system of its own goes with the root.
READ_ONLY = """
set -e
mount --bind "$1" "$1"
for place in /tmp /var/tmp /run /dev/shm; do
  if mountpoint -q "$place" && [ "${1#"$place"}" = "$1" ]; then mount -o remount,bind,ro "$place"; fi
done
mount -o remount,bind,ro /
cd /
shift
exec "$@"
"""
CHAT = {"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}


def _instruction(name: str) -> str:
    joined = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text("utf-8"))
    return " ".join(re.findall(rf"^{name} (.*)$", joined, re.MULTILINE))


def _variables() -> dict[str, str]:
    """Those of the image that have a value without a build argument."""
    final = (ROOT / "Dockerfile").read_text("utf-8").rpartition("FROM")[2]
    joined = " ".join(re.findall(r"^ENV (.*)$", final, re.MULTILINE))
    pairs = (word.partition("=") for word in shlex.split(joined))
    return {name: value for name, _, value in pairs if "$" not in value}


def _confined() -> list[str]:
    """What gives a process mounts of its own on this machine."""
    for command in (
        ["unshare", "--mount"],
        ["unshare", "--user", "--map-root-user", "--mount"],
        ["sudo", "-nE", "unshare", "-m"],
    ):
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
        ):
            return command
    pytest.skip("this machine lets nobody have mounts of their own")


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="module")
def environment(volume: Path) -> dict[str, str]:
    variables = _variables()
    at = variables["GATEWAY_DATA_DIR"]
    assert _instruction("VOLUME") == at
    inside = {name: value.replace(at, str(volume)) for name, value in variables.items()}
    return {**inside, "SERVICE_HOST": HOST, "ALLOWED_API_KEYS": TEST_KEY}


@pytest.fixture(scope="module")
def command(volume: Path) -> list[str]:
    """How the gateway's command is run in the image."""
    assert json.loads(_instruction("ENTRYPOINT")) == ["/opt/gateway/bin/ai-gateway"]
    return [*_confined(), "sh", "-c", READ_ONLY, "sh", str(volume), sys.executable, "-m", "ai_gateway"]


@pytest.fixture(scope="module")
def container(
    command: list[str], environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveGateway]:
    home = tmp_path_factory.mktemp("home")
    measured = {name: "" for name in os.environ if name.startswith("COVERAGE_")}  # it writes beside the sources
    with running_program(home, [*command, *json.loads(_instruction("CMD"))], **environment, **measured) as running:
        yield running


def _run(command: list[str], environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """As `docker exec` does: in the same image and volume."""
    variables = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
    return subprocess.run(
        [*command, *arguments], env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_nothing_can_be_written_outside_the_volume(command: list[str], volume: Path) -> None:
    confined = command[: command.index(sys.executable)]
    for place in ("/", "/tmp", str(ROOT)):  # noqa: S108 - it must not be written to
        assert subprocess.run([*confined, "touch", f"{place}/new"], capture_output=True, check=False).returncode
    assert not subprocess.run([*confined, "touch", f"{volume}/new"], capture_output=True, check=False).returncode


def test_the_gateway_answers_and_warns_of_nothing(container: LiveGateway) -> None:
    assert get(container, "/healthz", key=None).status_code == 200
    assert get(container, "/ready", key=None).status_code == 200
    assert post(container, "/custom/v1/chat/completions", CHAT).status_code == 200
    assert [record for record in container.records() if record["level"] in {"warning", "error"}] == []


def test_the_health_check_knows_where_the_gateway_listens(
    container: LiveGateway, command: list[str], environment: dict[str, str], volume: Path
) -> None:
    """By whichever setting: not a word of it is in the environment of the check."""
    check = json.loads(_instruction("HEALTHCHECK").partition(" CMD ")[2])
    assert check[0] == "/opt/gateway/bin/python"
    command = [*command[: command.index(sys.executable) + 1], *check[1:]]
    assert _run(command, environment).returncode == 0
    assert container.process.poll() is None
    assert _run(command, {**environment, "XDG_CACHE_HOME": str(volume / "none")}).returncode == 1


def test_keys_are_made_and_kept_in_the_volume(
    container: LiveGateway, command: list[str], environment: dict[str, str], volume: Path
) -> None:
    made = _run(command, environment, "keys", "create", "alice")
    key = re.search(r"sk-gw-[0-9A-Za-z]{49}", made.stdout)
    assert key, made.stderr
    assert post(container, "/custom/v1/chat/completions", CHAT, key=key[0]).status_code == 200
    assert (volume / "gateway.db").exists()


def test_a_reload_is_told_and_answered(container: LiveGateway, command: list[str], environment: dict[str, str]) -> None:
    done = _run(command, environment, "reload", "--port", str(container.port))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("reloaded")


def test_the_command_is_found_by_its_name() -> None:
    """As `docker exec NAME ai-gateway keys create alice` has to find it."""
    (program,) = json.loads(_instruction("ENTRYPOINT"))
    assert f"PATH={Path(program).parent}:${{PATH}}" in _instruction("ENV").split()


def test_the_signal_that_stops_a_container_stops_it_cleanly() -> None:
    assert getattr(signal, _instruction("STOPSIGNAL")) == signal.SIGTERM  # which running_program sends at the end


def test_the_image_says_what_it_is_and_runs_without_root() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="(.*?)"', _instruction("LABEL")))
    assert labels["licenses"] == "MIT"
    assert {name for name, value in labels.items() if value.startswith("${BUILD_")} == {
        "version",
        "revision",
        "created",
        "source",
    }
    assert _instruction("USER") == "10001:10001"


@pytest.mark.parametrize("script", ["image.sh", "image_smoke.sh"])
def test_a_script_is_one_that_the_shell_can_read(script: str) -> None:
    done = subprocess.run(["bash", "-n", ROOT / "scripts" / script], capture_output=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stderr
