"""MODEL_LIST_URL with a live gateway: what clients see of a good list, and of a host that fails."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.behaviours import TEXT
from tests.support.client import eventually, get
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.list_host import ListHost, hang, huge, item
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

UPSTREAM_KEY = "sk-upstream-canary"
SLASHED = "accounts/fireworks/models/llama-v3p1:8b"


LIST = [
    item("listed-gpt", "/openai/v1/chat/completions"),
    item(SLASHED, "/fireworks/chat/completions"),
    item("claude", "/nobody/v1/messages"),
    item("broken", "https://evil.example/v1", prompt_price_1k=-1),
    item("ünï/cødé %41?", "openai/v1/chat/completions"),
]


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


@dataclass(frozen=True)
class Served:
    """A list, and a gateway that has read it."""

    source: ListHost
    host: Upstream
    cache: Path
    live: LiveGateway


@pytest.fixture(scope="module")
def served(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    source, cache = ListHost(LIST), tmp_path_factory.mktemp("list") / "list.json"
    with running_upstream(source.behave) as host, listing(host, upstream, cache) as live:
        yield Served(source, host, cache, live)


@pytest.fixture(scope="module")
def good(served: Served) -> LiveGateway:
    return served.live


def ids(live: LiveGateway) -> list[str]:
    return [model["id"] for model in get(live, "/v1/models").json()["data"]]


def health(live: LiveGateway) -> dict[str, Any]:
    found: dict[str, Any] = get(live, "/health").json()["model_list"]
    return found


# --- a good list -----------------------------------------------------------------------------------------------------


def test_the_list_is_there_as_soon_as_the_gateway_is(good: LiveGateway) -> None:
    report = get(good, "/health").json()["model_list"]
    assert report["state"] == "fresh"
    assert report["age_s"] >= 0
    assert (report["models"], report["skipped"]) == (3, 1)
    assert report["unavailable"] == [{"provider": "nobody", "models": 1}]
    assert get(good, "/ready").json() == {"status": "ready", "model_list": "fresh"}


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
    listed = {model["id"]: model for model in get(good, "/v1/models").json()["data"]}
    assert listed == {model["id"]: model for model in get(good, "/v1/models").json()["data"]}
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
    assert get(good, f"/v1/models/{path}").json()["id"] == SLASHED


def test_a_listed_model_of_nobody_says_which_provider_is_missing(good: LiveGateway) -> None:
    reply = get(good, "/v1/models/claude")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert "'nobody', which is not configured" in reply.json()["error"]["message"]


def test_the_address_is_nobodys_to_see(good: LiveGateway) -> None:
    get(good, "/health").json()
    assert "canary" not in good.log()
    assert "canary" not in json.dumps(get(good, "/health").json())


# --- a host that fails -----------------------------------------------------------------------------------------------


def test_a_refresh_that_fails_is_told_and_costs_no_memory(upstream: Upstream, tmp_path: Path) -> None:
    source = ListHost({"models": LIST})
    with (
        running_upstream(source.behave) as host,
        listing(host, upstream, tmp_path / "list.json", MODEL_LIST_REFRESH_S="0.2") as live,
    ):
        source.act = huge
        eventually(lambda: health(live)["state"] == "stale")
        report = health(live)
        assert report["problem"]
        assert report["models"] == 3
        assert get(live, "/health").json()["status"] == "degraded"
        assert {"listed-gpt", SLASHED} <= set(ids(live))
        assert live.rss() < 200 * 2**20
        source.document, source.act = [item("newer", "/openai")], source.good
        eventually(lambda: "newer" in ids(live))
        assert health(live)["state"] == "fresh"
        assert "listed-gpt" not in ids(live)


def test_a_host_that_hangs_at_the_start_does_not_hold_it_and_the_copy_on_disk_serves(
    served: Served, upstream: Upstream
) -> None:
    created = {model["id"]: model["created"] for model in get(served.live, "/v1/models").json()["data"]}
    served.source.act = hang
    try:
        with listing(served.host, upstream, served.cache) as live:
            assert get(live, "/ready").json() == {"status": "ready", "model_list": "stale"}
            assert health(live)["models"] == 3
            again = {model["id"]: model["created"] for model in get(live, "/v1/models").json()["data"]}
            assert again["listed-gpt"] == created["listed-gpt"]
    finally:
        served.source.act = served.source.good


def test_without_a_copy_a_host_that_is_down_leaves_the_rest_working(upstream: Upstream, tmp_path: Path) -> None:
    cache = tmp_path / "list.json"
    cache.write_bytes(b"garbage")
    with listing(upstream, upstream, cache, MODEL_LIST_URL="http://127.0.0.1:9/list") as live:
        report = health(live)
        assert (report["state"], report["models"]) == ("missing", 0)
        assert "age_s" not in report
        assert get(live, "/v1/models/openai/plain-model").status_code == 200
        assert "stored model list ignored" in live.log()


def test_what_stays_wrong_is_said_once(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = ListHost([*LIST, *(item("", "/openai") for _ in range(50))])
    with (
        running_upstream(source.behave) as host,
        listing(host, upstream, tmp_path / "file" / "list.json", MODEL_LIST_REFRESH_S="0.1") as live,
    ):
        eventually(lambda: len(host.requests) > 4)
        assert health(live)["state"] == "fresh"
        assert live.log().count("model list not stored") == 1
        assert live.log().count("entry of the model list skipped") == 20
        assert live.log().count("more entries of the model list skipped") == 1


def test_a_stream_that_runs_is_not_touched_by_a_new_list(upstream: Upstream, tmp_path: Path) -> None:
    source = ListHost(LIST)
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
