"""What every suite shares, as a pytest plugin: the processes that tests run against, and the kind of each test.

A test has exactly one of four marks: `unit` (starts no gateway), `live` (asks a gateway, a database or a sandbox that
runs as a process of its own), `slow` (a second or more by itself) and `soak` (minutes). The last two are written at the
test; the first two follow from what a test and its fixtures name. A file without a unit test says so by a mark of its
own, and is not even imported where only unit tests are wanted.
"""

import gc
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import fake_ollama
from tests.support.behaviours import behave
from tests.support.gateway import HOST, IMPATIENT, LiveGateway, SharedGateways, in_front_of, run_cli, running_gateway
from tests.support.servers import Server, running_postgres, running_valkey
from tests.support.upstream import Upstream, running_upstream, shared, shared_upstreams

KINDS = ("unit", "live", "slow", "soak")
IN_CI = os.environ.get("CI") == "true"

# What one example takes, and how long it takes to make one, says how busy the machine is. Where CI is set, hypothesis
# itself sees it so; for everybody else it would fail a test in which one example takes 200 ms.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


# -- fixtures --


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def own_data_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Applications in the tests' own process keep nothing where a gateway of whoever runs them keeps its data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module", autouse=True)
def nothing_of_other_modules() -> None:
    """Each module finds shared upstreams as if they had been asked and told nothing: models have names like others'."""
    for each in shared_upstreams():
        each.forget()


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    """The fault upstream."""
    with shared(running_upstream(behave)) as running:
        yield running


@pytest.fixture(scope="module")
def upstream(shared_upstream: Upstream) -> Upstream:
    return shared_upstream


@pytest.fixture(scope="session")
def shared_ollama() -> Iterator[Upstream]:
    with shared(running_upstream(fake_ollama.behave)) as running:
        yield running


@pytest.fixture(scope="module")
def ollama_upstream(shared_ollama: Upstream) -> Upstream:
    """A server of Ollama's wire."""
    return shared_ollama


@pytest.fixture(scope="session")
def gateway_for() -> Iterator[SharedGateways]:
    """`gateway_for(**env)` is a gateway with this environment, shared by all tests of the run that want the same."""
    with SharedGateways() as gateways:
        yield gateways


@pytest.fixture(scope="session")
def gateway(gateway_for: SharedGateways) -> LiveGateway:
    """The built-in provider only, guarded by one key."""
    return gateway_for()


@pytest.fixture(scope="session")
def relay(gateway_for: SharedGateways, shared_upstream: Upstream) -> LiveGateway:
    """In front of the fault upstream, as `openai` and as `lab`: each request is one attempt, and no breaker opens."""
    return gateway_for(**in_front_of(shared_upstream))


@pytest.fixture(scope="session")
def impatient(gateway_for: SharedGateways, shared_upstream: Upstream) -> LiveGateway:
    """The same, but it waits a second for anything."""
    return gateway_for(**in_front_of(shared_upstream), **IMPATIENT)


@pytest.fixture(scope="session")
def beside_ollama(gateway_for: SharedGateways, shared_upstream: Upstream, shared_ollama: Upstream) -> LiveGateway:
    """In front of an upstream of either wire: `lab` speaks OpenAI's and `ollama` its own."""
    address = f"http://{HOST}:{shared_ollama.port}"
    return gateway_for(PROVIDER_LAB_BASE_URL=shared_upstream.url, OLLAMA_HOST=address)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    """A Valkey whose databases belong to whoever uses them last."""
    with running_valkey() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL, in which each test makes databases of its own."""
    with running_postgres() as server:
        yield server


# -- the kind of a test --


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """All that collecting makes lives until the end, so that the collector need not look through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_HAS_NO_UNIT_TEST = re.compile(rb"^pytestmark = .*\bmark\.(live|slow|soak)\b", re.MULTILINE)
files_without_unit_tests = pytest.StashKey[list[str]]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, of a run of unit tests, the files that say they have none: imports were half of its collection."""
    if config.option.markexpr != "unit" or collection_path.suffix != ".py":
        return None
    return True if _HAS_NO_UNIT_TEST.search(collection_path.read_bytes()) else None


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marks
def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    kinds_of: dict[Path, set[str]] = {}
    for item in items:
        kinds_of.setdefault(item.path, set()).add(_kind(item))
    for parent in {parent for item in items for parent in item.listchain()[:-1]}:
        parent.own_markers = [
            mark for mark in parent.own_markers if mark.name not in KINDS
        ]  # each test has its own now
    config.stash[files_without_unit_tests] = sorted(
        path.relative_to(config.rootpath).as_posix()
        for path, kinds in kinds_of.items()
        if "unit" not in kinds and not _HAS_NO_UNIT_TEST.search(path.read_bytes())
    )


def _kind(item: pytest.Item) -> str:
    """The one at the test itself, or else its file's, or else what it names; given to it as a mark in any case."""
    own = {mark.name for mark in item.own_markers if mark.name in KINDS}
    if len(own) > 1 and own.intersection(mark.name for mark in _marks_of_parameters(item)):
        own = {max(own, key=KINDS.index)}  # a slow test with a parameter that needs a process, say
        item.own_markers = [mark for mark in item.own_markers if mark.name in own or mark.name not in KINDS]
    if len(own) > 1:
        raise pytest.UsageError(f"{item.nodeid} is marked {' and '.join(sorted(own))}: a test has one kind")
    of_file = (mark.name for mark in item.iter_markers() if mark.name in KINDS)
    kind = next(iter(own), None) or next(of_file, None) or ("live" if _needs_a_process(item) else "unit")
    if kind not in own:
        item.add_marker(kind)
    return kind


def _marks_of_parameters(item: pytest.Item) -> Sequence[pytest.Mark | pytest.MarkDecorator]:
    return item.callspec.marks if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()


_PROCESSES = frozenset({"gateway_for", "postgres", "valkey"})
"""Fixtures that start them. A fixture that asks for one by its name at run time marks its parameter itself."""


def _needs_a_process(item: pytest.Item) -> bool:
    if not isinstance(item, pytest.Function):
        return False
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    functions = [item.obj, *(definition[-1].func for definition in fixtures)]
    return not _PROCESSES.isdisjoint(item.fixturenames) or any(
        _starts_a_process(inspect.unwrap(each)) for each in functions
    )


@cache
def _starts_a_process(function: Callable[..., Any]) -> bool:
    """Whether it names, if only by way of other functions of the tests, what starts a gateway or keeps a process."""
    seen: set[Callable[..., Any]] = set()
    left = [getattr(getattr(function, "hypothesis", None), "inner_test", function)]
    while left:
        current = left.pop()
        if current in seen or not current.__module__.startswith("tests."):
            continue
        seen.add(current)
        names = _names(current.__code__)
        if "Popen" in names:
            return True
        for named in (current.__globals__[name] for name in names & current.__globals__.keys()):
            methods = vars(named).values() if inspect.isclass(named) else [named]
            left += [inspect.unwrap(each) for each in methods if inspect.isfunction(each)]
    return not seen.isdisjoint({inspect.unwrap(running_gateway), run_cli})


def _names(code: CodeType) -> set[str]:
    """Every name that code uses, with those of the functions inside it."""
    inner = [_names(constant) for constant in code.co_consts if inspect.iscode(constant)]
    return set(code.co_names).union(*inner)


started: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "fork_server.fork" or (event == "subprocess.Popen" and "'-m', 'ai_gateway'" in str(arguments[1])):
        started.append(str(arguments))


sys.addaudithook(_watch)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A unit test that starts a gateway fails: `make check` would be slow again without anybody noticing."""
    before = len(started)
    yield
    if (logging := sys.modules.get("ai_gateway.observability.logging")) is not None:
        logging.drain()  # records are written by a thread: those of a test belong to its own output
    if item.get_closest_marker("unit") and len(started) > before:
        pytest.fail(f"this unit test started a gateway; mark it live: {started[before]}")


# -- nothing is skipped where it counts --


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    """CI has all that tests need, so a skip there is a test that was not run."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped, which CI does not allow: {report.longrepr[2]}"
    return report
