"""What an operator says of an upstream of their own, in its table of gateway.toml."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import ProviderSettings, Settings
from ai_gateway.contract.call import DROPPED_HEADER
from ai_gateway.providers.config.upstreams import configured_upstreams
from tests.support.behaviours import behave
from tests.support.command import run_command
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.anyio
SECRET = "canary-header-4b7d"


async def telltale(exchange: Exchange) -> None:
    """An upstream that quotes the headers it got in its refusals."""
    if exchange.seen.model == "quoting":
        await exchange.json({"error": {"message": f"no such tenant: {exchange.seen.header('x-tenant')}"}}, status=400)
    else:
        await behave(exchange)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(telltale) as running:
        yield running


@asynccontextmanager
async def client(table: str, upstream: Upstream, where: Path) -> AsyncIterator[httpx2.AsyncClient]:
    text = f'[providers.lab]\nbase_url = "{upstream.url}"\n{table}\n'
    (where / "gateway.toml").write_text(text, encoding="utf-8")
    asgi = build(read_configuration()).asgi
    transport = httpx2.ASGITransport(asgi, client=("127.0.0.1", 1))
    async with (
        asgi.router.lifespan_context(asgi),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9000/lab/v1/") as http,
    ):
        yield http


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_LEVEL", "error")
    return tmp_path


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}


async def test_headers_of_the_table_go_up_and_never_come_back(upstream: Upstream, where: Path) -> None:
    table = f'headers = {{ "X-Tenant" = "{SECRET}", "api-key" = "k" }}'
    async with client(table, upstream, where) as http:
        assert (await http.post("chat/completions", json=chat("good#headers"))).status_code == 200
        refused = await http.post("chat/completions", json=chat("quoting"))
    seen = upstream.last("good#headers")
    assert (seen.header("x-tenant"), seen.header("api-key")) == (SECRET, "k")
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "no such tenant: [key]")


async def test_quirks_of_the_table_are_honoured_and_add_to_those_of_its_wire(upstream: Upstream, where: Path) -> None:
    table = 'wire = "mistral"\nrenamed = { stop = "ends" }\ndropped = ["temperature"]\nrefused = ["n"]'
    async with client(table, upstream, where) as http:
        body = chat("good#own", stop=["x"], temperature=0.5, seed=7, user="u")
        reply = await http.post("chat/completions", json=body)
        refused = await http.post("chat/completions", json=chat("good#own-n", n=2))
        tokens = await http.post("embeddings", json={"model": "good#own-t", "input": [1]})
    assert upstream.last("good#own").json == chat("good#own", ends=["x"], random_seed=7)
    assert reply.headers[DROPPED_HEADER] == "temperature,user"
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")
    assert (tokens.status_code, tokens.json()["error"]["param"]) == (400, "input")
    assert not [seen for seen in upstream.requests if seen.model in {"good#own-n", "good#own-t"}]


@pytest.mark.parametrize(("allowed", "status"), [("true", 200), ("false", 400)])
async def test_the_table_decides_about_tokens_over_its_wire(
    upstream: Upstream, where: Path, allowed: str, status: int
) -> None:
    wire = "mistral" if allowed == "true" else "openai"
    async with client(f'wire = "{wire}"\ntoken_arrays = {allowed}', upstream, where) as http:
        assert (await http.post("embeddings", json={"model": "m", "input": [[1, 2]]})).status_code == status


def test_headers_of_a_wire_can_be_changed_by_the_table() -> None:
    table = ProviderSettings(base_url="https://h/v1", wire="openrouter", headers={"X-Title": SecretStr("Lab")})
    env = {"OPENROUTER_HTTP_REFERER": "https://lab.example.com"}
    (upstream,) = configured_upstreams(Settings(providers={"lab": table}), env).upstreams
    assert {name: value.get_secret_value() for name, value in upstream.headers.items()} == {
        "x-title": "Lab",
        "http-referer": "https://lab.example.com",
    }


def test_values_of_headers_are_masked() -> None:
    table = ProviderSettings(base_url="https://h/v1", headers={"X-Tenant": SecretStr(SECRET)})
    (upstream,) = configured_upstreams(Settings(providers={"lab": table}), {}).upstreams
    assert upstream.headers["x-tenant"].get_secret_value() == SECRET
    assert SECRET not in repr(table) + repr(upstream)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"headers": {"bad name": "x"}}, "none of a header"),
        ({"headers": {"Host": SECRET}}, "host is the gateway's own"),
        ({"headers": {"Content-Length": "0"}}, "content-length is the gateway's own"),
        ({"headers": {"X-A": f"{SECRET}\r\nX-B: 1"}}, "x-a holds characters that no header can carry"),
        ({"headers": {"X-A": ""}}, "x-a holds characters that no header can carry, or none"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "one is there twice"),
        ({"headers": {"authorization": f"Basic {SECRET}"}, "api_key": "k"}, "authorization is set by the key"),
        ({"renamed": {"sed": "random_seed"}}, "renamed: the contract has no such request field"),
        ({"renamed": {"seed": "ran dom"}}, "the new names have to be names of fields"),
        ({"renamed": {"model": "engine"}}, "'model' is needed as it is"),
        ({"dropped": ["stream"]}, "'stream' is needed as it is"),
        ({"dropped": ["seed"], "refused": ["seed"]}, "'seed' is named twice"),
        ({"renamed": {"seed": "s"}, "dropped": ["seed"]}, "'seed' is named twice"),
    ],
)
def test_what_a_table_cannot_say_stops_the_start(table: dict[str, Any], complaint: str) -> None:
    settings = Settings(providers={"lab": ProviderSettings(base_url="https://h/v1", **table)})
    with pytest.raises(SettingsError, match=complaint) as caught:
        configured_upstreams(settings, {})
    assert all("lab" in problem for problem in caught.value.problems)
    assert SECRET not in str(caught.value)


def test_what_is_said_of_openais_wire_is_refused_on_another(tmp_path: Path) -> None:
    (tmp_path / "other_wire.py").write_text(
        "from ai_gateway.providers.upstream import ProviderRow\n"
        'ROW = ProviderRow("other", "https://h/v1", "OTHER_KEY", adapter="other_wire:Never")\n',
        encoding="utf-8",
    )
    facts = tmp_path / "other_wire-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: other-wire\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text("[ai_gateway.providers]\nother = other_wire:ROW\n", encoding="utf-8")
    config = tmp_path / "own.toml"
    for line in ('headers = { a = "b" }', 'dropped = ["user"]', "token_arrays = true"):
        table = f'[providers.lab]\nbase_url = "https://h/v1"\nwire = "other"\n{line}\n'
        config.write_text(table, encoding="utf-8")
        done = run_command("serve", PYTHONPATH=str(tmp_path), GATEWAY_CONFIG=str(config), SERVICE_PORT="0")
        assert done.returncode == 2
        assert "providers.lab: headers, renamed, dropped, refused and token_arrays are for OpenAI's wire" in done.stderr
