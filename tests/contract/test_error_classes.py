"""What each client raises for a failure is what it raises at the vendor itself, so that its users' code still holds.

LiteLLM's client gets an environment of its own: its releases pin a trust store that the gateway's lock would have to
follow.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import ollama
import pytest
from pydantic import SecretStr

from tests.contract.test_sdk_node import HERE as NODE_PROGRAMS, node
from tests.support.client import NO_CERTIFICATES
from tests.support.gateway import HOST, ONE_ATTEMPT, TEST_KEY, LiveGateway, SharedGateways
from tests.support.upstream import Upstream, running_upstream
from tests.support.uv import ROOT, find_uv
from tests.support.vendor import KEY, KINDS, ollama_vendor, vendor

__all__ = ["node"]  # a fixture
pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
WRONG = "sk-wrong"
ASK: Any = [{"role": "user", "content": "Hello"}]
MID = ["mid-failure", "mid-overload", "mid-rate", "mid-context", "mid-filter"]
# Words by which clients such as LiteLLM's know a class that the status does not tell.
MARKS = {
    "key": "Incorrect API key provided",
    "context": "This model's maximum context length is",
    "filter": "content management policy",
    "model": "does not exist",
}


@pytest.fixture(scope="module")
def real() -> Iterator[Upstream]:
    with running_upstream(vendor) as running:
        yield running


@pytest.fixture(scope="module")
def real_ollama() -> Iterator[Upstream]:
    with running_upstream(ollama_vendor) as running:
        yield running


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways, real: Upstream, real_ollama: Upstream) -> LiveGateway:
    vendors = {"OPENAI_BASE_URL": real.url, "OPENAI_API_KEY": KEY, "OLLAMA_API_KEY": KEY}
    return gateway_for(**vendors, OLLAMA_HOST=address(real_ollama), REQUEST_TIMEOUT_S="2", **ONE_ATTEMPT)


def address(upstream: Upstream) -> str:
    return f"http://{HOST}:{upstream.port}"


type Place = tuple[str, str]


def places(live: LiveGateway, real: Upstream, kind: str) -> tuple[Place, Place]:
    """The address and the key of the vendor, then of the gateway; a wrong key is wrong at either."""
    wrong = kind == "key"
    return (real.url, WRONG if wrong else KEY), (f"{live.base_url}/openai/v1", WRONG if wrong else TEST_KEY)


def raised(attempt: Callable[[], object]) -> BaseException:
    try:
        attempt()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def with_openai(place: Place, model: str, *, stream: bool) -> object:
    import openai

    with openai.OpenAI(base_url=place[0], api_key=place[1], max_retries=0, timeout=20) as client:
        reply: Any = client.chat.completions.create(model=model, messages=ASK, stream=stream)
        return list(reply) if stream else reply


def with_langchain(place: Place, model: str, *, stream: bool) -> object:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=place[0], api_key=SecretStr(place[1]), model=model, max_retries=0, timeout=20)
    with closing(chat.root_client):
        return list(chat.stream("Hello")) if stream else chat.invoke("Hello")


CLIENTS = {"openai": with_openai, "langchain": with_langchain}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("kind", "stream"),
    [*((kind, stream) for kind in KINDS for stream in (False, True)), *((kind, True) for kind in MID)],
)
def test_a_python_client_raises_what_it_raises_at_the_vendor(
    live: LiveGateway, real: Upstream, client: str, kind: str, *, stream: bool
) -> None:
    theirs, ours = (
        raised(lambda place=place: CLIENTS[client](place, kind, stream=stream))  # type: ignore[misc]
        for place in places(live, real, kind)
    )
    assert type(ours) is type(theirs), (ours, theirs)
    if not kind.startswith("mid-"):
        assert getattr(ours, "status_code", None) == getattr(theirs, "status_code", None) or kind == "failure"
    if kind in MARKS:
        assert getattr(ours, "code", None) == getattr(theirs, "code", None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_other_clients_decide_by_is_what_the_vendor_says(live: LiveGateway, real: Upstream, kind: str) -> None:
    theirs, ours = (
        httpx2.post(
            f"{url}/chat/completions",
            json={"model": kind, "messages": ASK},
            headers={"authorization": f"Bearer {key}"},
            verify=NO_CERTIFICATES,
        )
        for url, key in places(live, real, kind)
    )
    if kind != "failure":  # a failure that says nothing else is the gateway's bad upstream
        assert ours.status_code == theirs.status_code
    assert ours.headers.get("retry-after") == theirs.headers.get("retry-after")
    reported, known = ours.json()["error"], theirs.json()["error"]
    if ours.status_code < 500:
        assert reported["code"] == known["code"]
    assert MARKS.get(kind, "") in reported["message"]


def test_a_vendor_that_never_answers_is_a_timeout(live: LiveGateway, real: Upstream) -> None:
    """At the vendor the client's own timeout ends it; the gateway's, if it is shorter, has the status of one."""
    import openai

    with openai.OpenAI(base_url=f"{live.base_url}/openai/v1", api_key=TEST_KEY, max_retries=0, timeout=1) as client:
        error = raised(lambda: client.chat.completions.create(model="silence", messages=ASK))
    assert type(error) is openai.APITimeoutError
    error = raised(lambda: with_openai(places(live, real, "silence")[1], "silence", stream=False))
    assert isinstance(error, openai.InternalServerError)
    assert error.status_code == 504


type OllamaPlace = dict[str, str]


@pytest.fixture(scope="module")
def ollama_places(live: LiveGateway, real_ollama: Upstream) -> list[OllamaPlace]:
    """Ollama's server, then the gateway in front of it, and in front of a vendor of the other wire."""
    return [
        {"url": url, "key": key, "wrong": WRONG, "model": model}
        for url, key, model in (
            (address(real_ollama), KEY, ""),
            (live.base_url, TEST_KEY, "ollama/"),
            (live.base_url, TEST_KEY, "openai/"),
        )
    ]


@pytest.mark.parametrize(
    ("kind", "stream"),
    [*((kind, stream) for kind in KINDS for stream in (False, True)), *((kind, True) for kind in MID)],
)
def test_ollamas_client_raises_what_it_raises_at_ollama(
    ollama_places: list[OllamaPlace], kind: str, *, stream: bool
) -> None:
    def ask(place: OllamaPlace) -> BaseException:
        headers = {"authorization": f"Bearer {place['wrong' if kind == 'key' else 'key']}"}
        client: Any = ollama.Client(host=place["url"], headers=headers, verify=NO_CERTIFICATES)
        with closing(client._client):
            reply: Callable[[], Any] = lambda: client.chat(model=place["model"] + kind, messages=ASK, stream=stream)  # noqa: E731
            return raised(lambda: list(reply()) if stream else reply())

    theirs, *ours = map(ask, ollama_places)
    assert isinstance(theirs, ollama.ResponseError)
    for error in ours:
        assert isinstance(error, ollama.ResponseError)
        assert error.status_code == (502 if kind == "failure" else theirs.status_code)
        assert MARKS.get(kind.removeprefix("mid-"), "") in error.error


def run(live: LiveGateway, real: Upstream, *command: str | Path, cwd: Path, **env: str) -> Any:
    """What a program finds at both places: one process for all kinds."""
    both = [{"url": url, "key": key, "wrong": WRONG} for url, key in places(live, real, "")]
    kinds = json.dumps([*KINDS, *MID])
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "PLACES": json.dumps(both), "KINDS": kinds, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def in_node(
    node: Path, live: LiveGateway, real: Upstream, ollama_places: list[OllamaPlace]
) -> dict[str, list[list[Any]]]:
    """What OpenAI's Node SDK, the AI SDK and Ollama's raise, at the vendor and at the gateway."""
    program, others = NODE_PROGRAMS / "errors.mjs", json.dumps(ollama_places)
    results: dict[str, list[list[Any]]] = run(live, real, node, program, cwd=NODE_PROGRAMS, OLLAMA_PLACES=others)
    return results


CASES = [f"{kind} {mode}" for kind in KINDS for mode in ("whole", "stream")] + [f"{kind} stream" for kind in MID]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("client", ["openai", "ai"])
def test_a_client_of_node_raises_what_it_raises_at_the_vendor(
    in_node: dict[str, list[list[Any]]], client: str, case: str
) -> None:
    theirs, ours = in_node[f"{client} {case}"]
    assert ours[:2] == theirs[:2] != ["nothing"]
    if "failure" not in case:  # the status, and whether the client itself would try again
        assert (ours[2], ours[4]) == (theirs[2], theirs[4])
    if case.partition(" ")[0] in MARKS:
        assert ours[3] == theirs[3]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_ollamas_client_of_node_raises_what_it_raises_at_ollama(in_node: dict[str, list[list[Any]]], case: str) -> None:
    theirs, *ours = in_node[f"ollama {case}"]
    assert theirs != ["nothing"]
    for raised_here in ours:
        assert raised_here[:2] == theirs[:2]
        if "failure" not in case:  # a failure that says nothing else is the gateway's bad upstream
            assert raised_here[2] == theirs[2]
        assert MARKS.get(case.partition(" ")[0].removeprefix("mid-"), "") in raised_here[5]


@pytest.mark.slow
def test_a_vendor_that_never_answers_is_a_504_for_ollamas_client(in_node: dict[str, list[list[Any]]]) -> None:
    assert [found[:3] for found in in_node["ollama silence"]] == [["ResponseError", "ResponseError", 504]] * 4


LITELLM = "litellm==1.110.2"


@pytest.fixture(scope="session")
def litellm_python() -> Path:
    """The interpreter of an environment with LiteLLM, which is made once."""
    place = ROOT / ".clients" / LITELLM
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        uv = find_uv()
        commands: list[list[str | Path]] = [
            [uv, "venv", "--quiet", "--python", sys.executable, place],
            [uv, "pip", "install", "--quiet", "--python", place / "bin" / "python", LITELLM],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                pytest.skip(f"{LITELLM} cannot be installed here: {done.stderr[-500:]}")
        (place / "complete").touch()
    return place / "bin" / "python"


@pytest.fixture(scope="module")
def in_litellm(litellm_python: Path, live: LiveGateway, real: Upstream) -> dict[str, list[list[Any]]]:
    """What LiteLLM's client raises, at the vendor and at the gateway."""
    program = Path(__file__).with_name("litellm_program.py")
    alone = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    results: dict[str, list[list[Any]]] = run(live, real, litellm_python, program, cwd=program.parent, **alone)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_litellms_client_raises_what_it_raises_at_the_vendor(in_litellm: dict[str, list[list[Any]]], case: str) -> None:
    theirs, ours = in_litellm[case]
    assert theirs[0] != "nothing"
    if case not in {"failure whole", "failure stream"}:  # the gateway's 502 for a vendor's 500 has a class too
        assert ours == theirs
