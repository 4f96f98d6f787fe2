"""OpenAI's, Anthropic's and Ollama's own Node SDKs against the live gateway: `node/*.mjs` say what is checked."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.support.administration import ADMIN_KEY, ADMINISTERED
from tests.support.anthropic_targets import TARGETS as ANTHROPICS, Target as AnthropicTarget, in_front_of_all
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.ollama_targets import CUSTOM, TARGETS, Target
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HERE = Path(__file__).parent / "node"


def names(script: str) -> list[str]:
    """The checks of a script."""
    return re.findall(r"""^  async ['"](.+)['"]\(\) \{$""", (HERE / script).read_text(encoding="utf-8"), re.MULTILINE)


OPENAI = names("checks.mjs")
OLLAMA = names("ollama.mjs")
MESSAGES = names("anthropic.mjs")
ADMIN = names("admin.mjs")
TOOLS = names("tools.mjs")
DOORS = names("doors.mjs")
RESPONSES = names("responses.mjs")
NODE_MAJOR = 22  # the oldest that the SDK of package.json runs on


@pytest.fixture(scope="module")
def node() -> Path:
    """A Node with the SDK beside it, installed once per machine from the lock file."""
    try:
        npm = shutil.which("npm") or pytest.skip("npm is not installed")
        with _only_one_of_us():
            _install(npm)
        return _runtime()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the Node SDK could not be installed: {error}")


@contextmanager
def _only_one_of_us() -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / f"ai-gateway-npm-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(npm: str) -> None:
    """`npm ci`, unless what is there came from this very lock file. No package's scripts are run."""
    wanted = (HERE / "package-lock.json").read_bytes()
    stamp = HERE / "node_modules" / ".installed-lock.json"
    if stamp.exists() and stamp.read_bytes() == wanted:
        return
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=HERE, check=True, capture_output=True, timeout=240)
    stamp.write_bytes(wanted)


def _runtime() -> Path:
    own = HERE / "node_modules" / ".bin" / "node"
    found = own if own.exists() else Path(shutil.which("node") or pytest.skip("node is not installed"))
    version = subprocess.run([found, "--version"], check=True, capture_output=True, text=True, timeout=20).stdout
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR:
        pytest.skip(f"node {NODE_MAJOR} or newer is needed, not {version.strip()}")
    return found


@pytest.fixture(scope="module")
def openai_results(node: Path, gateway: LiveGateway) -> dict[str, str]:
    """The line that the script printed for each check."""
    return _run(node, "checks.mjs", gateway, CUSTOM)


@pytest.fixture(scope="module")
def responses_results(node: Path, gateway: LiveGateway) -> dict[str, str]:
    return _run(node, "responses.mjs", gateway, CUSTOM)


@pytest.fixture(scope="module")
def ollama_results(node: Path, gateway: LiveGateway, beside_ollama: LiveGateway) -> dict[str, dict[str, str]]:
    """The same for each target of Ollama's wire, one process after the other."""
    return {
        name: _run(node, "ollama.mjs", gateway if target is CUSTOM else beside_ollama, target)
        for name, target in TARGETS.items()
    }


@pytest.fixture(scope="module")
def messages_results(
    node: Path, gateway_for: SharedGateways, upstream: Upstream, ollama_upstream: Upstream
) -> dict[str, dict[str, str]]:
    """The same for each target of Anthropic's wire."""
    with in_front_of_all(gateway_for, upstream, ollama_upstream) as live:
        return {name: _run(node, "anthropic.mjs", live, target) for name, target in ANTHROPICS.items()}


@pytest.fixture(scope="module")
def admin_results(node: Path, gateway_for: SharedGateways) -> dict[str, str]:
    return _run(node, "admin.mjs", gateway_for(**ADMINISTERED), CUSTOM)


@pytest.fixture(scope="module")
def tools_results(node: Path, gateway: LiveGateway) -> dict[str, str]:
    return _run(node, "tools.mjs", gateway, CUSTOM)


@pytest.fixture(scope="module")
def doors_results(node: Path, gateway: LiveGateway) -> dict[str, str]:
    return _run(node, "doors.mjs", gateway, CUSTOM)


def _run(node: Path, script: str, gateway: LiveGateway, target: Target | AnthropicTarget) -> dict[str, str]:
    done = subprocess.run(
        [node, HERE / script],
        env={
            "PATH": os.environ["PATH"],
            "GATEWAY_URL": gateway.base_url,
            "GATEWAY_KEY": TEST_KEY,
            "ADMIN_KEY": ADMIN_KEY,
            "TARGET": json.dumps(asdict(target)),
        },
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (line for line in done.stdout.splitlines() if line.startswith(("ok ", "not ok ")))
    return {line.removeprefix("not ").removeprefix("ok ").partition(": ")[0]: line for line in lines}


def test_the_scripts_hold_checks_of_different_names() -> None:
    every = [*OPENAI, *OLLAMA, *MESSAGES, *ADMIN, *RESPONSES, *TOOLS, *DOORS]
    assert len(set(every)) == len(every) >= 67


@pytest.mark.parametrize("name", OPENAI)
def test_the_node_sdk_finds_that(openai_results: dict[str, str], name: str) -> None:
    assert openai_results.get(name, "the script ended before it") == f"ok {name}"


@pytest.mark.parametrize("name", RESPONSES)
def test_the_node_sdk_finds_of_responses_that(responses_results: dict[str, str], name: str) -> None:
    assert responses_results.get(name, "the script ended before it") == f"ok {name}"


@pytest.mark.parametrize("target", ANTHROPICS)
@pytest.mark.parametrize("name", MESSAGES)
def test_the_node_sdk_of_anthropic_finds_that(
    messages_results: dict[str, dict[str, str]], target: str, name: str
) -> None:
    assert messages_results[target].get(name, "the script ended before it") == f"ok {name}"


@pytest.mark.parametrize("name", ADMIN)
def test_the_node_sdk_of_an_administrator_finds_that(admin_results: dict[str, str], name: str) -> None:
    assert admin_results.get(name, "the script ended before it") == f"ok {name}"


@pytest.mark.parametrize("name", TOOLS)
def test_the_node_sdks_have_tools_run(tools_results: dict[str, str], name: str) -> None:
    assert tools_results.get(name, "the script ended before it") == f"ok {name}"


@pytest.mark.parametrize("name", DOORS)
def test_the_node_sdks_have_server_tools_run(doors_results: dict[str, str], name: str) -> None:
    assert doors_results.get(name, "the script ended before it") == f"ok {name}"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", OLLAMA)
def test_the_node_sdk_of_ollama_finds_that(ollama_results: dict[str, dict[str, str]], target: str, name: str) -> None:
    assert ollama_results[target].get(name, "the script ended before it") == f"ok {name}"
