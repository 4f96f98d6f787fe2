"""What upstreams and callers say, where an operator reads it: it commands no terminal, and makes no line of its own."""

import json
from collections.abc import Iterator

import pytest

from tests.support.client import get
from tests.support.gateway import HOST, LiveGateway, SharedGateways, run_cli
from tests.support.raw_http import talk
from tests.support.upstream import Exchange, Upstream, running_upstream

ESCAPES = ["\x1b[2J\x1b[31mred", "\x9b31m", "a\u2028b", "a\u2029b", "\x85next", "\x7f\x08", "\u202eeslaf", "\x07",
           "\r\nforged", "\U000e0041", "\u200b", "\ufeff", "\x00"]  # fmt: skip
ALL = "|".join(ESCAPES)


async def behave(exchange: Exchange) -> None:
    models = [{"id": f"m-{text}", "object": "model", "created": 1, "owned_by": f"o-{text}"} for text in ESCAPES]
    if exchange.seen.method == "GET":
        await exchange.json({"object": "list", "data": models})
    else:
        await exchange.json({"error": {"message": f"why {ALL}", "type": ALL, "code": ALL}}, status=400)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


def is_plain(text: str) -> bool:
    return all(line.isprintable() for line in text.replace("\r\n", "\n").split("\n"))


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_models_command_shows_escapes_as_text(upstream: Upstream, form: list[str]) -> None:
    done = run_cli("models", *form, PROVIDER_LAB_BASE_URL=upstream.url)
    assert "m-" in done.stdout
    assert is_plain(done.stdout)
    assert is_plain(done.stderr)
    if form:
        assert "lab/m-\x1b[2J\x1b[31mred" in {model["id"] for model in json.loads(done.stdout)["data"]}
    else:
        assert "\\u009b31m" in done.stdout
        assert len([line for line in done.stdout.splitlines() if line.startswith("lab/")]) == len(ESCAPES)


@pytest.mark.parametrize("form", [[], pytest.param(["--json"], marks=pytest.mark.soak)])
def test_the_probe_command_shows_escapes_as_text(upstream: Upstream, form: list[str]) -> None:
    done = run_cli("probe", upstream.url, "--timeout", "5", "--only", "models", *form)
    assert done.stdout
    assert is_plain(done.stdout)
    assert is_plain(done.stderr)
    if form:
        json.loads(done.stdout)


def test_problems_of_a_configuration_are_shown_as_text() -> None:
    done = run_cli("models", DEFAULT_MODEL=f"x{ESCAPES[0]}", LOG_LEVEL=ESCAPES[0])
    assert done.returncode == 2
    assert is_plain(done.stderr)


@pytest.mark.parametrize("text", ESCAPES, ids=ascii)
def test_the_log_has_escapes_as_text(gateway_for: SharedGateways, upstream: Upstream, text: str) -> None:
    live: LiveGateway = gateway_for(PROVIDER_LAB_BASE_URL=upstream.url)
    quoted = "".join(f"%{byte:02x}" for byte in text.encode())
    talk(live, f"GET /path-{quoted} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    get(live, f"/lab/v1/models/{quoted}")
    get(live, f"/v1/models/{quoted}")
    log = live.log()
    assert "path-" in log
    assert is_plain(log)
    assert [json.loads(line) for line in log.splitlines() if line.startswith("{")]
