"""Providers in packages of their own: the example is installed and called; broken ones stop the start in one line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.behaviours import TEXT
from tests.support.client import frames_of, get, post
from tests.support.command import run_command
from tests.support.gateway import LiveGateway, SharedGateways, running_gateway
from tests.support.upstream import Upstream
from tests.support.uv import find_uv

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "provider-plugin"
KEY = "sk-plugin-canary-91ab"
ROW = 'from ai_gateway.providers.upstream import ProviderRow\nROW = ProviderRow("lab", "{url}", "LAB_KEY"{more})\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the example installed in it, as an operator would beside the gateway."""
    place = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, place / "source")  # a build must not leave anything in the repository
    options = ["--offline", "--no-cache", "--no-deps", "--no-build-isolation", "--no-config"]
    command = [find_uv(), "pip", "install", "--quiet", *options, "--python", sys.executable]
    subprocess.run([*command, "--target", place / "site", source], check=True, timeout=180)
    return place / "site"


@pytest.fixture(scope="module")
def live(installed: Path, upstream: Upstream) -> Iterator[LiveGateway]:
    env = {"PYTHONPATH": str(installed), "ACME_API_KEY": KEY, "ACME_BASE_URL": upstream.url}
    with running_gateway(**env) as running:
        yield running


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "pretty  bird"}], **fields}


def made(
    where: Path, code: str, *, name: str = "lab", value: str = "lab_plugin:ROW", package: str = "lab-plugin"
) -> str:
    """An installed package, by hand: the directory to look in."""
    (where / "lab_plugin.py").write_text(code, encoding="utf-8")
    facts = where / f"{package.replace('-', '_')}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text(f"[ai_gateway.providers]\n{name} = {value}\n", encoding="utf-8")
    return str(where)


# -- the example, installed --


def test_a_class_from_a_package_answers_whole_and_streamed(live: LiveGateway) -> None:
    import openai

    with openai.OpenAI(base_url=f"{live.base_url}/parrot/v1", api_key="any", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "pretty bird"}]
        whole = client.chat.completions.create(model="polly", messages=messages)
        assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("pretty bird", "stop")
        stream = client.chat.completions.create(model="polly", messages=messages, stream=True)
        pieces = [chunk.choices[0].delta.content for chunk in stream]
        assert [piece for piece in pieces if piece] == ["pretty", " bird"]


def test_a_stream_from_a_package_is_held_to_the_contract(live: LiveGateway) -> None:
    reply = post(live, "/parrot/v1/chat/completions", chat("polly", stream=True))
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith("data: [DONE]\n\n")
    first = json.loads(frames_of(reply.text)[0].removeprefix("data: "))
    assert first["choices"][0]["delta"]["role"] == "assistant"


def test_a_row_from_a_package_has_its_quirks_and_its_key(live: LiveGateway, upstream: Upstream) -> None:
    reply = post(live, "/v1/chat/completions", chat("acme/good#row", max_completion_tokens=3))
    assert reply.json()["choices"][0]["message"]["content"] == TEXT
    seen = upstream.last("good#row")
    assert seen.json == chat("good#row", max_tokens=3)
    assert (seen.header("authorization"), seen.header("x-client")) == (f"Bearer {KEY}", "gateway")
    assert KEY not in live.log()


def test_models_of_packages_are_listed_and_retrieved(live: LiveGateway) -> None:
    listed = [model["id"] for model in get(live, "/v1/models").json()["data"]]
    assert {"parrot/polly", "acme/plain-model"} <= set(listed)
    assert get(live, "/v1/models/parrot/polly").json()["owned_by"] == "parrot"


def test_what_a_package_lacks_is_a_clear_400_and_what_it_drops_is_named(live: LiveGateway) -> None:
    lacking = post(live, "/parrot/v1/embeddings", {"model": "polly", "input": "x"})
    assert (lacking.status_code, lacking.json()["error"]["code"]) == (400, "unsupported_operation")
    reply = post(live, "/parrot/v1/chat/completions", chat("polly", temperature=1, own=2))
    assert (reply.status_code, reply.headers["x-gateway-dropped-params"]) == (200, "own,temperature")


def test_the_ledger_the_contract_and_the_banner_know_the_providers_of_packages(live: LiveGateway) -> None:
    ledger = {each["provider"]: each["operations"] for each in get(live, "/v1/parameters").json()["providers"]}
    chat_of = {
        name: next(op for op in ops if op["operation"] == "createChatCompletion") for name, ops in ledger.items()
    }
    assert "temperature" in chat_of["parrot"]["dropped"]
    assert "max_completion_tokens" in chat_of["acme"]["mapped"]
    paths = get(live, "/openapi.json").json()["paths"]
    (provider,) = [
        parameter
        for parameter in paths["/{provider}/v1/models"]["get"].get("parameters", [])
        if parameter["name"] == "provider"
    ]
    assert set(provider["schema"]["enum"]) == {"acme", "parrot", "custom"}
    assert "acme (configured), parrot (configured)" in live.log()


def test_the_core_knows_nothing_of_the_example() -> None:
    sources = [path for folder in ("src", "generated") for path in (ROOT / folder).rglob("*.py")]
    knowing = [path for path in sources if {"parrot", "acme"} & set(path.read_text("utf-8").lower().split())]
    mentioning = [path for path in sources if "gateway_parrot" in path.read_text("utf-8")]
    assert len(sources) > 50
    assert knowing + mentioning == []


# -- installed and not configured --


def test_a_package_that_is_not_configured_changes_nothing_but_the_hint(
    gateway_for: SharedGateways, tmp_path: Path
) -> None:
    site = made(tmp_path, ROW.format(url="https://lab.example.com/v1", more=', adapter="missing_module:Never"'))
    plain = gateway_for(ALLOWED_API_KEYS="")
    with running_gateway(PYTHONPATH=site) as other:
        for path in ("/v1/models", "/v1/parameters", "/openapi.json", "/"):
            assert get(other, path).json() == get(plain, path).json(), path
        answers = [post(live, "/v1/chat/completions", chat("m")) for live in (plain, other)]
        assert answers[0].json()["choices"] == answers[1].json()["choices"]
        reported = get(other, "/lab/v1/models").json()["error"]
    assert reported["code"] == "provider_not_found"
    assert "Provider 'lab' is not configured: set LAB_KEY." in reported["message"]


def test_a_table_can_have_the_wire_of_a_package(tmp_path: Path, upstream: Upstream) -> None:
    more = ', quirks=Quirks(renamed={"seed": "luck"})'
    code = "from ai_gateway.providers.openai.quirks import Quirks\n" + ROW.format(
        url="https://lab.example.com/v1", more=more
    )
    site = made(tmp_path, code)
    config = tmp_path / "gateway.toml"
    config.write_text(f'[providers.mine]\nbase_url = "{upstream.url}"\nwire = "lab"\n', encoding="utf-8")
    with running_gateway(PYTHONPATH=site, GATEWAY_CONFIG=str(config)) as live:
        assert post(live, "/mine/v1/chat/completions", chat("good#luck", seed=4)).status_code == 200
    assert upstream.last("good#luck").json == chat("good#luck", luck=4)


# -- broken --

PLUGIN = "plugin 'lab' (lab_plugin:ROW) of package lab-plugin: "
BROKEN = {
    "raises": ("raise RuntimeError('broken\\nat')", {}, PLUGIN + "it cannot be imported: RuntimeError: broken at"),
    "exits": ("raise SystemExit(3)", {}, PLUGIN + "it cannot be imported: SystemExit: 3"),
    "imports-nothing": ("import not_there_at_all", {}, PLUGIN + "it cannot be imported: ModuleNotFoundError"),
    "no-such-name": ("X = 1", {}, PLUGIN + "it cannot be imported: AttributeError"),
    "wrong-type": ("ROW = {'name': 'lab'}", {}, PLUGIN + "it has to be a ProviderRow and is of type dict"),
    "other-name": (ROW.format(url="", more="").replace('"lab"', '"bench"'), {}, PLUGIN + "its row has another name"),
    "reserved": (ROW.format(url="", more=""), {"name": "v1"}, "'v1' (lab_plugin:ROW) of package lab-plugin: its name"),
    "clashing": (ROW.format(url="", more=""), {"name": "groq"}, "there is a provider of this name already"),
    "built-in": (ROW.format(url="", more=""), {"name": "custom"}, "its name is not one that a provider can have"),
}  # fmt: skip


def refused(site: str, **env: str) -> str:
    """The one line with which the start is refused."""
    done = run_command("serve", PYTHONPATH=site, SERVICE_PORT="0", **env)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ai-gateway: ")
    assert KEY not in line
    return line


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_stops_the_start_with_one_line(case: str, tmp_path: Path) -> None:
    code, more, complaint = BROKEN[case]
    assert complaint in refused(made(tmp_path, code, **more))


def test_two_packages_cannot_bring_one_provider(tmp_path: Path) -> None:
    code = ROW.format(url="https://lab.example.com/v1", more="")
    made(tmp_path, code)
    assert "of package other-plugin: there is a provider of this name" in refused(
        made(tmp_path, code, package="other-plugin")
    )


OWN = "from ai_gateway.providers.base import Provider\n"
UNUSABLE: Mapping[str, tuple[str, str]] = {
    "missing": ("", "adapter lab_plugin:Own cannot be used: AttributeError"),
    "raises": ("def Own(upstream): raise ValueError(upstream.secret)", "cannot be used: ValueError: [key]"),
    "raises-at-length": (
        "def Own(upstream): raise ValueError('x' * 280 + upstream.secret)",
        f"cannot be used: ValueError: {'x' * 280}[key]",
    ),
    "no-provider": ("def Own(upstream): return 5", "it makes an object of type int, which is no Provider"),
    "undecided": (
        "def Own(upstream): return Provider('lab', {'createEmbedding': {'input': 'mapped'}})",
        "it has not decided what becomes of createChatCompletion.audio, ",
    ),
    "no-init": ("class Own(Provider):\n    def __init__(self, upstream): pass", "cannot be used: AttributeError"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_class_that_cannot_be_used_stops_the_start_with_one_line(case: str, tmp_path: Path) -> None:
    code, complaint = UNUSABLE[case]
    row = ROW.format(url="", more=', adapter="lab_plugin:Own"')
    line = refused(made(tmp_path, f"{OWN}{row}{code}\n"), LAB_KEY=KEY)
    assert "provider 'lab': its adapter" in line
    assert complaint in line
