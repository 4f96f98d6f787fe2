"""MODEL_LIST_URL with a live gateway: a good list, and every way in which its host can fail."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.support.behaviours import TEXT
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Exchange, Hangup, Upstream, head, running_upstream

KEY = {"authorization": f"Bearer {TEST_KEY}"}
UPSTREAM_KEY = "sk-upstream-canary"
SLASHED = "accounts/fireworks/models/llama-v3p1:8b"


def item(model: str, handle: str, **more: object) -> dict[str, object]:
    return {"model_version": model, "model_family": "f", "handle": handle, "prompt_price_1k": 0.1,
            "completion_price_1k": 0.2, **more}  # fmt: skip


LIST = [
    item("listed-gpt", "/openai/v1/chat/completions"),
    item(SLASHED, "/fireworks/chat/completions"),
    item("claude", "/nobody/v1/messages"),
    item("broken", "https://evil.example/v1", prompt_price_1k=-1),
    item("ünï/cødé %41?", "openai/v1/chat/completions"),
]


class ListHost:
    """Serves a document, or misbehaves; what it does can be changed while it runs."""

    def __init__(self, document: object = LIST) -> None:
        self.document = document
        self.act: Callable[[Exchange], Any] = self.good

    async def behave(self, exchange: Exchange) -> None:
        await self.act(exchange)

    async def good(self, exchange: Exchange) -> None:
        await exchange.json(self.document)


async def refuse(exchange: Exchange) -> None:
    await exchange.json({"error": "x"}, status=500)


async def garbage(exchange: Exchange) -> None:
    await exchange.reply(b"<html>not a list</html>", content_type="text/html")


async def huge(exchange: Exchange) -> None:
    await exchange.raw(head(200, {"content-type": "application/json", "content-length": str(100 * 2**20)}))
    for _ in range(1600):
        await exchange.raw(b" " * 2**16)


async def redirect(exchange: Exchange) -> None:
    target = f"http://{dict(exchange.seen.headers)['host']}/elsewhere"
    if exchange.seen.path == "/elsewhere":
        await exchange.json([item("stolen", "/openai")])
    await exchange.reply(b"", status=302, headers={"location": target})


async def hang(exchange: Exchange) -> None:
    await exchange.hang()


async def close(exchange: Exchange) -> None:
    raise Hangup


async def compressed(exchange: Exchange) -> None:
    await exchange.reply(b"\x1f\x8b", headers={"content-encoding": "gzip"})


@contextlib.contextmanager
def listing(host: Upstream, upstream: Upstream, cache: Path, **env: str) -> Iterator[LiveGateway]:
    url = host.url.removesuffix("/v1")
    settings = {
        "OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": UPSTREAM_KEY,
        "FIREWORKS_BASE_URL": upstream.url, "FIREWORKS_API_KEY": UPSTREAM_KEY,
        "MODEL_LIST_URL": f"{url}/models.json?signature=canary", "MODEL_LIST_CACHE": str(cache),
        "ALLOWED_API_KEYS": TEST_KEY,
    }  # fmt: skip
    with running_gateway(**{**settings, **env}) as live:
        yield live


@pytest.fixture(scope="module")
def good(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    source = ListHost()
    with (
        running_upstream(source.behave) as host,
        listing(host, upstream, tmp_path_factory.mktemp("list") / "list.json") as live,
    ):
        yield live


def get(live: LiveGateway, path: str) -> Any:
    return httpx2.get(live.base_url + path, headers=KEY, timeout=20).json()


def ids(live: LiveGateway) -> list[str]:
    return [model["id"] for model in get(live, "/v1/models")["data"]]


def health(live: LiveGateway) -> dict[str, Any]:
    found: dict[str, Any] = get(live, "/health")["model_list"]
    return found


def eventually(holds: Callable[[], bool], within: float = 8.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"did not happen within {within} s"
        time.sleep(0.05)


# --- a good list -----------------------------------------------------------------------------------------------------


def test_the_list_is_there_as_soon_as_the_gateway_is(good: LiveGateway) -> None:
    report = get(good, "/health")["model_list"]
    assert report["state"] == "fresh"
    assert report["age_s"] < 60
    assert (report["models"], report["skipped"]) == (3, 1)
    assert report["unavailable"] == [{"provider": "nobody", "models": 1}]
    assert get(good, "/ready") == {"status": "ready", "model_list": "fresh"}


def test_a_bad_entry_is_one_warning_with_its_index(good: LiveGateway) -> None:
    warnings = [line for line in good.log().splitlines() if "entry of the model list skipped" in line]
    assert len(warnings) == 1
    assert "entry 3: " in warnings[0]


def test_every_entry_answers_under_its_own_name_at_the_provider_of_its_handle(
    good: LiveGateway, upstream: Upstream
) -> None:
    with openai.OpenAI(base_url=f"{good.base_url}/v1", api_key=TEST_KEY) as client:
        for model, provider in (("listed-gpt", "openai"), (SLASHED, "fireworks")):
            raw = client.chat.completions.with_raw_response.create(
                model=model, messages=[{"role": "user", "content": "x"}]
            )
            assert raw.headers["x-gateway-provider"] == provider
            assert raw.parse().choices[0].message.content == TEXT
            assert upstream.last(model).path == "/v1/chat/completions"
            assert upstream.last(model).header("authorization") == f"Bearer {UPSTREAM_KEY}"


def test_entries_are_shown_the_same_at_every_call_and_asking_for_one_asks_nobody(
    good: LiveGateway, upstream: Upstream
) -> None:
    listed = {model["id"]: model for model in get(good, "/v1/models")["data"]}
    assert listed == {model["id"]: model for model in get(good, "/v1/models")["data"]}
    assert listed["listed-gpt"]["owned_by"] == "openai"
    assert listed[SLASHED]["owned_by"] == "fireworks"
    assert "claude" not in listed
    before = len(upstream.requests)
    with openai.OpenAI(base_url=f"{good.base_url}/v1", api_key=TEST_KEY) as client:
        for name, shown in listed.items():
            assert client.models.retrieve(name).model_dump(exclude_unset=True) == shown
    assert len(upstream.requests) == before


@pytest.mark.parametrize(
    "path", [SLASHED, SLASHED.replace("/", "%2F").replace(":", "%3A"), "accounts%2ffireworks/models/llama-v3p1:8b"]
)
def test_an_id_may_be_encoded_or_not(good: LiveGateway, path: str) -> None:
    assert get(good, f"/v1/models/{path}")["id"] == SLASHED


def test_a_listed_model_of_nobody_says_which_provider_is_missing(good: LiveGateway) -> None:
    reply = httpx2.get(f"{good.base_url}/v1/models/claude", headers=KEY)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert "'nobody', which is not configured" in reply.json()["error"]["message"]


def test_the_address_is_nobodys_to_see(good: LiveGateway) -> None:
    get(good, "/health")
    assert "canary" not in good.log()
    assert "canary" not in json.dumps(get(good, "/health"))


def test_no_credential_goes_to_the_lists_host_unless_one_is_set_for_it(upstream: Upstream, tmp_path: Path) -> None:
    source = ListHost()
    with running_upstream(source.behave) as host:
        with listing(host, upstream, tmp_path / "list.json"):
            pass
        with listing(host, upstream, tmp_path / "list.json", MODEL_LIST_API_KEY="for-the-list"):
            pass
        first, second = host.requests[0], host.requests[-1]
    names = {name for name, _ in first.headers}
    assert not names & {"authorization", "cookie", "x-api-key", "proxy-authorization"}
    assert UPSTREAM_KEY not in str(first.headers)
    assert second.header("authorization") == "Bearer for-the-list"


# --- a host that fails -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [refuse, garbage, huge, redirect, hang, close, compressed])
def test_a_failed_refresh_keeps_the_last_good_list_and_a_later_one_mends_it(
    upstream: Upstream, tmp_path: Path, fault: Callable[[Exchange], Any]
) -> None:
    source = ListHost({"models": LIST})
    with (
        running_upstream(source.behave) as host,
        listing(host, upstream, tmp_path / "list.json", MODEL_LIST_REFRESH_S="0.2") as live,
    ):
        source.act = fault
        eventually(lambda: health(live)["state"] == "stale", within=15)
        report = health(live)
        assert report["problem"]
        assert report["age_s"] > 0
        assert report["models"] == 3
        assert get(live, "/health")["status"] == "degraded"
        assert {"listed-gpt", SLASHED} <= set(ids(live))
        assert "stolen" not in ids(live)
        assert live.rss() < 200 * 2**20
        source.document, source.act = [item("newer", "/openai")], source.good
        eventually(lambda: health(live)["state"] == "fresh", within=15)
        assert "newer" in ids(live)
        assert "listed-gpt" not in ids(live)
        assert "/elsewhere" not in {seen.path for seen in host.requests}


@pytest.mark.parametrize("fault", [refuse, garbage, redirect, hang, close])
def test_a_host_that_is_down_at_the_start_neither_fails_nor_holds_it_and_the_copy_on_disk_serves(
    upstream: Upstream, tmp_path: Path, fault: Callable[[Exchange], Any]
) -> None:
    source = ListHost()
    with running_upstream(source.behave) as host:
        with listing(host, upstream, tmp_path / "list.json") as live:
            created = {model["id"]: model["created"] for model in get(live, "/v1/models")["data"]}
        source.act = fault
        started = time.monotonic()
        with listing(host, upstream, tmp_path / "list.json") as live:
            assert time.monotonic() - started < 10
            assert get(live, "/ready") == {"status": "ready", "model_list": "stale"}
            assert health(live)["models"] == 3
            again = {model["id"]: model["created"] for model in get(live, "/v1/models")["data"]}
            assert again["listed-gpt"] == created["listed-gpt"]


def test_without_a_copy_a_host_that_is_down_leaves_the_rest_working(upstream: Upstream, tmp_path: Path) -> None:
    cache = tmp_path / "list.json"
    cache.write_bytes(b"garbage")
    with listing(upstream, upstream, cache, MODEL_LIST_URL="http://127.0.0.1:9/list") as live:
        report = health(live)
        assert (report["state"], report["models"]) == ("missing", 0)
        assert "age_s" not in report
        assert httpx2.get(f"{live.base_url}/v1/models/openai/plain-model", headers=KEY).status_code == 200
        assert "stored model list ignored" in live.log()


def test_a_disk_that_cannot_be_written_to_is_said_once(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = ListHost()
    with (
        running_upstream(source.behave) as host,
        listing(host, upstream, tmp_path / "file" / "list.json", MODEL_LIST_REFRESH_S="0.1") as live,
    ):
        eventually(lambda: len(host.requests) > 4)
        assert health(live)["state"] == "fresh"
        assert live.log().count("model list not stored") == 1


def test_an_unchanged_list_is_warned_about_once(upstream: Upstream, tmp_path: Path) -> None:
    source = ListHost([*LIST, *(item("", "/openai") for _ in range(50))])
    with (
        running_upstream(source.behave) as host,
        listing(host, upstream, tmp_path / "list.json", MODEL_LIST_REFRESH_S="0.1") as live,
    ):
        eventually(lambda: len(host.requests) > 4)
        assert live.log().count("entry of the model list skipped") == 20
        assert live.log().count("more entries of the model list skipped") == 1


def test_a_stream_that_runs_is_not_touched_by_a_new_list(upstream: Upstream, tmp_path: Path) -> None:
    source = ListHost()
    with (
        running_upstream(source.behave) as host,
        listing(host, upstream, tmp_path / "list.json", MODEL_LIST_REFRESH_S="0.1") as live,
        openai.OpenAI(base_url=f"{live.base_url}/v1", api_key=TEST_KEY) as client,
    ):
        source.document = [item("paced", "/openai")]
        eventually(lambda: "paced" in ids(live))
        stream = client.chat.completions.create(model="paced", messages=[{"role": "user", "content": "x"}], stream=True)
        source.document = []
        words = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert "".join(words) == TEXT
        assert "paced" not in ids(live)
