"""Keys that nobody may ever see again: pushed through every operation and every fault, looked for everywhere."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ai_gateway.app.build import build
from ai_gateway.app.configuration import configure
from ai_gateway.config.sources import read_settings, read_sources
from ai_gateway.providers.custom.faults import FAULTS
from tests.support.behaviours import TABLE, behave
from tests.support.client import BODIES, NO_CERTIFICATES
from tests.support.collector import Collector, running_collector
from tests.support.command import run_command
from tests.support.gateway import IMPATIENT, ONE_ATTEMPT, LiveGateway, running_gateway
from tests.support.upstream import Exchange, Hangup, Upstream, running_upstream

CLIENT = "ck-Zq7Vb2xM9LwT4pRd8KsY1nHf"
KEY = {"authorization": f"Bearer {CLIENT}"}
INTRUDER = "ik-Hn5Jc8yD3QvB6tWz2XgP9mLa"
PROVIDER = "pk-Uf4Rk6eS1NoC7hXj3GbT5vYi"
# Refusals that quote the key they were sent: all of it, or as much as real ones do.
QUOTED = {f"quote-{status}": status for status in (400, 401, 403, 404, 422, 429, 500, 503)}
# Those that go on until somebody leaves, or until 64 MB are read: one after the other, and a look at each.
ENDLESS = {"endless-body", "flood", "stream-giant-line", "drip"}
LOOK_BYTES, LOOK_S = 256 * 1024, 1.0


def forms(key: str) -> Iterator[str]:
    """The shapes in which a key gives itself away."""
    yield key
    yield key[:12]
    for text in (key, f"Bearer {key}"):
        for shift in range(3):  # base64 looks different at each place of a group
            coded = base64.b64encode(b"\0" * shift + text.encode()).decode().rstrip("=")
            yield coded[4:-4] if shift else coded[:-4]
    yield "".join(f"%{ord(sign):02x}" for sign in key[:12])


FORMS = {form for key in (CLIENT, INTRUDER, PROVIDER) for form in forms(key)}


def assert_clean(text: str, where: str) -> None:
    lower = text.lower()
    found = [form for form in FORMS if form in text or form in lower]
    assert not found, f"{where} shows {found}: ...{text[max(0, text.index(found[0]) - 300) :][:400]}..."


# Every place of a reply in which bytes are an upstream's to choose. `@` stands for the key, in one of its forms.
_CLOSE = b"connection: close\r\n"
_OK = b"HTTP/1.1 200 OK\r\n" + _CLOSE
_JSON = b"content-type: application/json\r\n"
_CHUNKED = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LINES = b"content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
_REFUSED = b"HTTP/1.1 429 Too Many\r\n" + _CLOSE + _JSON
_ENVELOPE = b'{"type":"error","error":{"message":"no @ here","type":"@","code":"@","param":"@"}}'


def _whole(head: bytes, body: bytes) -> bytes:
    return head + b"content-length: %d\r\n\r\n" % (len(body) + 4096) + body  # longer than said, in any form


def _chunked(head: bytes, *chunks: bytes) -> bytes:
    return head + b"".join(b"fff\r\n" + chunk for chunk in chunks)  # so that the key may be of any length


PLACES: dict[str, bytes] = {
    "no-http": b"@\r\n\r\n",
    "status-line": b"HTTP/1.1 @\r\n\r\n",
    "status-digits": b"HTTP/1.1 2@0 OK\r\n\r\n",
    "version": b"HTTP/@ 200 OK\r\n\r\n",
    "reason": b"HTTP/1.1 500 @\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    "informational": b"HTTP/1.1 103 @\r\nlink: @\r\n\r\nHTTP/1.1 500 @\r\n" + _CLOSE + b"content-length: 0\r\n\r\n",
    "header-name": _OK + b"@: 1\r\ncontent-length: 0\r\n\r\n",
    "header-without-colon": _OK + b"@\r\n\r\n",
    "header-name-with-blank": _OK + b"x @: 1\r\n\r\n",
    "header-control": _OK + b"x-ratelimit-reset: \x01@\r\ncontent-length: 0\r\n\r\n",
    "length": _OK + b"content-length: @\r\n\r\n",
    "two-lengths": _OK + b"content-length: 3\r\ncontent-length: @\r\n\r\n",
    "coding": _OK + b"transfer-encoding: @\r\n\r\n",
    "compression": _OK + b"content-encoding: @\r\ncontent-length: 2\r\n\r\n{}",
    "media-type": _OK + b"content-type: @\r\ncontent-length: 2\r\n\r\n{}",
    "redirect": b"HTTP/1.1 302 Found\r\n" + _CLOSE + b"location: http://127.0.0.1:1/@\r\ncontent-length: 0\r\n\r\n",
    "cookie": b"HTTP/1.1 500 No\r\nconnection: close\r\nset-cookie: @=@\r\ncontent-length: 0\r\n\r\n",
    "chunk-size": _OK + _CHUNKED + b"@\r\n{}\r\n0\r\n\r\n",
    "chunk-extension": _OK + _CHUNKED + b"2;@=@\r\n{}\r\n0\r\n\r\n",
    "second-chunk-size": _OK + _CHUNKED + b"a\r\ndata: {}\n\n\r\n@\r\n",
    "trailer": _OK + _CHUNKED + b"2\r\n{}\r\n0\r\nx-ratelimit-reset: @\r\n@: @\r\n\r\n",
    "bad-trailer": _OK + _CHUNKED + b"2\r\n{}\r\n0\r\n@\r\n\r\n",
    "behind-the-end": _OK + _JSON + b"content-length: 2\r\n\r\n{}@@@",
    "garbage": _whole(_OK + _JSON, b"@"),
    "half-of-json": _OK + _JSON + b'content-length: 900\r\n\r\n{"@": "@',
    "no-json": _chunked(_OK + _JSON + b"transfer-encoding: chunked\r\n\r\n", b'{"choices": @'),
    "page": b"HTTP/1.1 502 Bad\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<p>@</p>",
    "event": _chunked(_OK + _CHUNKED, b"data: {@\n\n"),
    "event-name": _chunked(_OK + _CHUNKED, b"event: @\nid: @\nretry: @\ndata: {@}\n\n"),
    "event-that-is-an-error": _chunked(_OK + _CHUNKED, b"event: error\ndata: " + _ENVELOPE + b"\n\n"),
    "line-that-is-an-error": _chunked(_OK + _LINES, b'{"error": "no @ here"}\n'),
    "reason-to-end": _chunked(_OK + _CHUNKED, b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"@"}]}\n\n'),
    **{
        f"refusal-{status}": b"HTTP/1.1 %d No\r\nconnection: close\r\n%s\r\n%s" % (status, _JSON, _ENVELOPE)
        for status in (200, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 504, 529)
    },
    **{
        f"kept-{name}": _REFUSED + name.encode() + b": @\r\ncontent-length: 0\r\n\r\n"
        for name in (
            "x-ratelimit-limit-requests", "x-ratelimit-reset", "x-ratelimit-@", "retry-after", "retry-after-ms",
            "x-should-retry", "x-request-id", "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-tokens-reset",
            "anthropic-ratelimit-@", "request-id", "cf-ray", "www-authenticate",
        )
    },
    "date-to-retry": _REFUSED + b"retry-after: @ GMT\r\ncontent-length: 0\r\n\r\n",
}  # fmt: skip
KEY_FORMS: dict[str, bytes] = {
    "raw": PROVIDER.encode(),
    "base64": base64.b64encode(PROVIDER.encode()),
    "base64-of-more": base64.b64encode(f"u:Bearer {PROVIDER}".encode()),
    "percent": "".join(f"%{ord(sign):02X}" for sign in PROVIDER).encode(),
}
WIRES = ("openai", "anthropic", "ollama", "cerebras")
listing: dict[str, str] = {}  # the place in which lists of models have the key, while they are asked for


async def quoting(exchange: Exchange) -> None:
    """The usual behaviours, bytes with the key in each place, and refusals that quote the credential."""
    if listing and exchange.seen.method == "GET":
        await exchange.raw(PLACES[listing["place"]].replace(b"@", KEY_FORMS["raw"]))
        raise Hangup
    if exchange.seen.model.startswith("place/"):
        _, place, form, *_ = exchange.seen.model.split("/")
        await exchange.raw(PLACES[place].replace(b"@", KEY_FORMS[form]))
        raise Hangup
    status = QUOTED.get(exchange.seen.model.partition("#")[0].removesuffix("-part"))
    if status is None:
        return await behave(exchange)
    quoted = exchange.seen.header("authorization") or ""
    if "-part" in exchange.seen.model:
        quoted = quoted[: len("Bearer ") + 14] + "********"
    error = {"message": f"Incorrect API key provided: {quoted}", "type": quoted, "code": quoted, "param": quoted}
    return await exchange.json({"error": error}, status=status, headers={"x-ratelimit-limit-requests": quoted})


@dataclass
class Seen:
    """Everything that came back, as one text."""

    parts: list[str] = field(default_factory=list)

    def add(self, reply: httpx2.Response) -> None:
        self.parts += [f"{name}: {value}" for name, value in reply.headers.items()] + [reply.text]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(quoting) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[LiveGateway]:
    with running_gateway(
        ALLOWED_API_KEYS=CLIENT,
        OPENAI_BASE_URL=upstream.url,
        OPENAI_API_KEY=PROVIDER,
        LOG_LEVEL="debug",
        GRACE_PERIOD_S="1",
        BREAKER_THRESHOLD="0",  # or most faults would never be asked for
        **IMPATIENT,
    ) as live:
        yield live


def in_front_on_every_wire(upstream: Upstream) -> dict[str, str]:
    """The environment of a gateway that has this upstream as each kind of provider."""
    root = upstream.url.removesuffix("/v1")
    return {
        "ALLOWED_API_KEYS": CLIENT,
        "LOG_LEVEL": "debug",
        "GRACE_PERIOD_S": "1",
        **{f"{name.upper()}_API_KEY": PROVIDER for name in WIRES},
        "OPENAI_BASE_URL": upstream.url,
        "ANTHROPIC_BASE_URL": upstream.url,
        "CEREBRAS_BASE_URL": root,
        "OLLAMA_HOST": root,
        **ONE_ATTEMPT,
        **IMPATIENT,
    }


@dataclass(frozen=True)
class WrittenDown:
    """Where all that is said goes beside the log: the file of bodies, and a collector of traces with messages."""

    bodies: Path
    collector: Collector

    @property
    def env(self) -> dict[str, str]:
        """What has a gateway write it down."""
        reported = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true", **self.collector.env}
        return {"LOG_BODIES": "all", "LOG_BODIES_FILE": str(self.bodies), **reported}

    def assert_clean(self) -> None:
        """Of a gateway that has ended, and so has written all of it."""
        assert_clean(self.bodies.read_text("utf-8"), "the file of bodies")
        assert_clean(b"".join(self.collector.bodies).decode("latin-1"), "a trace")


@pytest.fixture(scope="module")
def written_down(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WrittenDown]:
    with running_collector() as collector:
        yield WrittenDown(tmp_path_factory.mktemp("bodies") / "bodies.jsonl", collector)


@pytest.fixture(scope="module")
def every_wire(upstream: Upstream) -> Iterator[LiveGateway]:
    """In front of the same upstream as each kind of provider."""
    with running_gateway(**in_front_on_every_wire(upstream)) as live:
        yield live


@pytest.fixture
async def http(gateway: LiveGateway) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=40)
    options: Any = {"limits": limits, "trust_env": False, "verify": NO_CERTIFICATES}
    async with httpx2.AsyncClient(base_url=gateway.base_url, timeout=60, **options) as client:
        yield client


def operations() -> list[tuple[str, str]]:
    """Method and path of everything in the contract, and the pages about it."""
    contract = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))
    found = [(method.upper(), path) for path, item in contract["paths"].items() for method in item]
    return [*found, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/nowhere"), ("DELETE", "/v1/models")]


def credentials() -> Iterator[dict[str, str]]:
    for key in (CLIENT, INTRUDER):
        yield {"authorization": f"Bearer {key}"}
        yield {"x-api-key": key}
        yield {"authorization": f"Basic {base64.b64encode(f'user:{key}'.encode()).decode()}"}
    yield {"authorization": f"Bearer {CLIENT}", "x-api-key": INTRUDER}


async def test_no_operation_shows_a_key_however_it_was_sent(http: httpx2.AsyncClient, gateway: LiveGateway) -> None:
    seen = Seen()
    for method, path in operations():
        for provider in ("openai", "custom", "nobody"):
            url = re.sub(r"\{model.*?\}", "some-model", path.replace("{provider}", provider))
            for headers in credentials():
                seen.add(
                    await http.request(method, url, headers=headers, json={"model": "m"} if method == "POST" else None)
                )
    assert len(seen.parts) > 1000
    assert_clean("\n".join(seen.parts), "a reply")
    assert_clean(gateway.log(), "the log")


async def test_no_fault_shows_a_key(http: httpx2.AsyncClient, gateway: LiveGateway, upstream: Upstream) -> None:
    seen = Seen()
    statuses = [f"status-{code}-{kind}" for code in (400, 401, 403, 429, 500) for kind in ("nested", "string", "html")]
    names = [*(TABLE.keys() - ENDLESS), *statuses, *QUOTED, *(f"{name}-part" for name in QUOTED)]

    async def ask(url: str, body: dict[str, Any]) -> None:
        seen.add(await http.post(url, json=body, headers=KEY))

    async with asyncio.TaskGroup() as group:
        for path, body in BODIES.items():
            for stream in ({}, {"stream": True}) if path != "embeddings" else ({},):
                for name in names:
                    model = {"model": f"{name}#{path}", **body, **stream}
                    group.create_task(ask(f"/openai/v1/{path}", model))
                for name in FAULTS:
                    group.create_task(ask(f"/custom/v1/{path}", {"model": name, **body, **stream}))
    asked = {f"{name}#{path}" for name in names for path in BODIES}
    assert asked <= {seen.model for seen in upstream.requests}
    assert {seen.header("authorization") for seen in upstream.requests} == {f"Bearer {PROVIDER}"}
    assert_clean("\n".join(seen.parts), "a reply")
    assert_clean(gateway.log(), "the log")


@pytest.mark.parametrize("door", ["v1/chat/completions", "api/chat"])
@pytest.mark.parametrize("wire", WIRES)
async def test_no_byte_of_an_upstream_carries_a_key_out(
    every_wire: LiveGateway, upstream: Upstream, wire: str, door: str
) -> None:
    """Whole and streamed, on every wire, through both doors: in the head, the body, its framing and its trailers."""
    seen = Seen()
    native = door == "api/chat"

    async def ask(http: httpx2.AsyncClient, model: str, *, stream: bool) -> None:
        body = {"model": f"{wire}/{model}" if native else model, **BODIES["chat/completions"], "stream": stream}
        seen.add(await http.post(f"/{door}" if native else f"/{wire}/{door}", json=body, headers=KEY))

    models = [f"place/{place}/{form}/{wire}/{door}" for place in PLACES for form in KEY_FORMS]
    async with httpx2.AsyncClient(
        base_url=every_wire.base_url, timeout=60, limits=httpx2.Limits(max_connections=40), trust_env=False,
        verify=NO_CERTIFICATES,
    ) as http, asyncio.TaskGroup() as group:  # fmt: skip
        for model in models:
            for stream in (False, True):
                group.create_task(ask(http, model, stream=stream))
    asked = [request for request in upstream.requests if request.model in models]
    assert {request.model for request in asked} == set(models)
    assert all(PROVIDER in str(request.headers) for request in asked)
    assert_clean("\n".join(seen.parts), "a reply")
    assert_clean(every_wire.log(), "the log")


@pytest.mark.parametrize("wire", WIRES)
async def test_what_is_written_down_on_request_shows_no_key(
    upstream: Upstream, written_down: WrittenDown, wire: str
) -> None:
    """The file of bodies and the messages in traces: with the keys that callers say, and what upstreams send."""
    content = f"my key is {CLIENT}, or {base64.b64encode(CLIENT.encode()).decode()}, yours {PROVIDER}"
    messages = [{"role": "system", "content": CLIENT}, {"role": "user", "content": [{"type": "text", "text": content}]}]
    env = in_front_on_every_wire(upstream) | written_down.env
    few = asyncio.Semaphore(6)

    async def ask(http: httpx2.AsyncClient, door: str, model: str, *, stream: bool) -> None:
        reported = messages if door == "v1/chat/completions" else [{"role": "user", "content": content}]
        path, named = (f"/{wire}/{door}", model) if door.startswith("v1") else (f"/{door}", f"{wire}/{model}")
        async with few:
            await http.post(path, json={"model": named, "messages": reported, "stream": stream}, headers=KEY)

    models = [*(f"place/{place}/raw/{wire}" for place in PLACES), "good", "stream-cut"]
    with running_gateway(**env) as live:
        async with httpx2.AsyncClient(
            base_url=live.base_url, timeout=60, trust_env=False, verify=NO_CERTIFICATES
        ) as http, asyncio.TaskGroup() as group:  # fmt: skip
            for door in ("v1/chat/completions", "api/chat"):
                for model in models:
                    for stream in (False, True):
                        group.create_task(ask(http, door, model, stream=stream))
        assert_clean(live.log(), "the log")
    records = [json.loads(line) for line in written_down.bodies.read_text("utf-8").splitlines()]
    assert len([each for each in records if wire in (each["provider"] or "")]) > len(models)
    assert written_down.collector.bodies
    written_down.assert_clean()


# The operations beside chat, by path below a provider or Ollama's API, with what they need beside the model.
OTHERS: dict[str, dict[str, Any]] = {
    "v1/completions": BODIES["completions"],
    "v1/embeddings": BODIES["embeddings"],
    "api/generate": {"prompt": "hello", "stream": False},
    "api/embed": {"input": "hello"},
}


@pytest.mark.parametrize("wire", WIRES)
async def test_no_byte_carries_a_key_out_of_another_operation(
    every_wire: LiveGateway, upstream: Upstream, wire: str
) -> None:
    """Which read their replies by code of their own; models are asked for by a path, which the upstream goes by."""
    seen = Seen()
    models = [f"place/{place}/raw/{wire}" for place in PLACES]

    async def ask(http: httpx2.AsyncClient, path: str, model: str) -> None:
        native = path.startswith("api/")
        body = {"model": f"{wire}/{model}" if native else model, **OTHERS[path]}
        seen.add(await http.post(f"/{path}" if native else f"/{wire}/{path}", json=body, headers=KEY))

    async def look(http: httpx2.AsyncClient, place: str) -> None:
        listing["place"] = place
        seen.add(await http.get(f"/{wire}/v1/models", headers=KEY))
        seen.add(await http.get(f"/{wire}/v1/models/some-model", headers=KEY))

    async with httpx2.AsyncClient(
        base_url=every_wire.base_url, timeout=60, limits=httpx2.Limits(max_connections=40), trust_env=False,
        verify=NO_CERTIFICATES,
    ) as http:  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for path in OTHERS:
                for model in models:
                    group.create_task(ask(http, path, model))
        for place in PLACES:
            await look(http, place)
    listing.clear()
    if wire in {"openai", "ollama"}:  # which have all of these
        assert {request.model for request in upstream.requests} >= set(models)
    assert_clean("\n".join(seen.parts), "a reply")
    assert_clean(every_wire.log(), "the log")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", sorted(ENDLESS))
async def test_no_fault_without_end_shows_a_key(
    http: httpx2.AsyncClient, gateway: LiveGateway, upstream: Upstream, name: str, stream: bool
) -> None:
    model = f"{name}#look-{stream}"
    body = {"model": model, **BODIES["chat/completions"], "stream": stream}
    seen = Seen()
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(LOOK_S),
            http.stream("POST", "/openai/v1/chat/completions", json=body, headers=KEY) as reply,
        ):
            seen.parts += [f"{field}: {value}" for field, value in reply.headers.items()]
            async for part in reply.aiter_raw():
                seen.parts.append(part.decode("latin-1"))
                if sum(map(len, seen.parts)) > LOOK_BYTES:
                    break
    assert upstream.last(model).header("authorization") == f"Bearer {PROVIDER}"
    assert await asyncio.to_thread(upstream.last(model).gone.wait, 3), "it goes on after its client has left"
    assert_clean("".join(seen.parts), "a reply")
    assert_clean(gateway.log(), "the log")


async def test_a_request_that_holds_keys_in_its_fields_does_not_log_them(
    http: httpx2.AsyncClient, gateway: LiveGateway
) -> None:
    """What a caller says is the caller's; the log still has to do without it."""
    body = {"model": PROVIDER, "messages": [{"role": "user", "content": INTRUDER}], "user": CLIENT, "n": "wrong"}
    reply = await http.post(f"/custom/v1/chat/completions?key={CLIENT}", json=body, headers=KEY)
    assert reply.status_code == 400
    assert_clean(reply.text, "the reply")
    assert_clean(gateway.log(), "the log")


@pytest.mark.parametrize(
    "wrong",
    [{"SERVICE_PORT": "no"}, {"OPENAI_BASE_URL": "ftp://x"}, {"LOG_LEVEL": PROVIDER}, {"ALLOW_ANONYMOUS": CLIENT}],
)
def test_a_start_that_is_refused_shows_no_key(wrong: dict[str, str]) -> None:
    done = run_command(
        "serve", **{"SERVICE_PORT": "0", "ALLOWED_API_KEYS": CLIENT, "OPENAI_API_KEY": PROVIDER, **wrong}
    )
    assert done.returncode == 2
    assert_clean(done.stdout + done.stderr, "the refusal")
    assert "Traceback" not in done.stderr


def test_no_settings_and_no_provider_show_a_key_when_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_API_KEYS", CLIENT)
    for name in ("OPENAI", "GROQ", "VLLM"):
        monkeypatch.setenv(f"{name}_API_KEY", PROVIDER)
    sources = read_sources(log_level="error")
    configuration = configure(read_settings(sources), sources)
    settings, application = configuration.settings, build(configuration)
    registry = application.gateway.registry
    things: list[object] = [sources, configuration, settings, application, application.gateway, registry, *registry]
    for thing in things:
        assert_clean(f"{thing!r} {thing!s}", type(thing).__name__)
    assert_clean(settings.model_dump_json(), "the settings as JSON")
    assert len(registry.names) == 4


def test_the_search_finds_every_form() -> None:
    coded = base64.b64encode(f"user:Bearer {CLIENT}".encode()).decode()
    for text in (CLIENT, f"...{PROVIDER[:12]}***", coded, base64.b64encode(INTRUDER.encode()).decode()):
        with pytest.raises(AssertionError, match="a page shows"):
            assert_clean(text, "a page")


def test_a_traceback_in_the_log_shows_where_and_not_what() -> None:
    program = (
        "import os, structlog\n"
        "from ai_gateway.observability.logging import configure_logging\n"
        "configure_logging('debug')\n"
        "def call(key):\n"
        "    raise ValueError('broken')\n"
        "try:\n"
        "    call(os.environ['CANARY'])\n"
        "except ValueError as error:\n"
        "    structlog.get_logger('x').error('request failed', exc_info=error)\n"
    )
    environment = {**os.environ, "CANARY": PROVIDER}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "ValueError: broken" in done.stderr
    assert_clean(done.stdout + done.stderr, "the traceback")
