"""The application as a caller meets it, in process."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from starlette.requests import Request
from starlette.responses import Response

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration

pytestmark = pytest.mark.anyio
PAGES = ["/docs", "/redoc", "/openapi.json", "/openapi.yaml"]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@asynccontextmanager
async def client(
    client_address: str = "127.0.0.1", base: str = "http://127.0.0.1:9000", **given: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    asgi = build(read_configuration(**{"log_level": "error", **given})).asgi
    transport = httpx2.ASGITransport(asgi, client=(client_address, 1), raise_app_exceptions=False)
    async with asgi.router.lifespan_context(asgi), httpx2.AsyncClient(transport=transport, base_url=base) as http:
        yield http


async def test_the_served_contract_is_the_generated_one_with_the_providers_named() -> None:
    generated = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))
    async with client(allowed_api_keys=["k"]) as http:
        served = (await http.get("/openapi.json")).json()
    named = [
        parameter["schema"].pop("enum")
        for item in served["paths"].values()
        for operation in item.values()
        for parameter in operation.get("parameters", [])
        if (parameter["name"], parameter["in"]) == ("provider", "path")
    ]
    assert named
    assert all(enum == ["custom"] for enum in named)
    assert served == generated


async def test_the_served_contract_asks_for_no_key_where_none_is_needed() -> None:
    async with client() as http:
        served = (await http.get("/openapi.json")).json()
    secured = [op["security"] for item in served["paths"].values() for op in item.values() if op["security"]]
    needed = [security for security in secured if security != [{"AdminApiKeyAuth": []}]]  # which always needs one
    assert needed
    assert all({} in security for security in needed)


async def test_a_store_without_keys_from_an_earlier_start_needs_none_either(tmp_path: Path) -> None:
    for _ in range(2):
        async with client(store_url=f"sqlite:///{tmp_path}/gateway.db") as http:
            served = (await http.get("/openapi.json")).json()
        assert {} in served["paths"]["/v1/models"]["get"]["security"]


async def test_tools_that_ask_the_application_get_the_served_contract() -> None:
    asgi = build(read_configuration(log_level="error")).asgi
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(asgi), base_url="http://127.0.0.1") as http:
        assert asgi.openapi() == (await http.get("/openapi.json")).json()


async def test_the_docs_page_needs_nothing_from_elsewhere() -> None:
    async with client() as http:
        page = await http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "createChatCompletion" in page.text
    assert not re.search(r"""(?:src|href)=['"]?[a-z]+:|url\(|@import""", page.text)
    assert "<script" not in page.text


async def test_the_document_is_served_as_yaml_too() -> None:
    async with client() as http:
        served = await http.get("/openapi.yaml")
        assert served.headers["content-type"] == "application/yaml"
        assert yaml.load(served.text, yaml.CSafeLoader) == (await http.get("/openapi.json")).json()
        assert served.text.startswith('openapi: "3.1.0"\ninfo:\n  title:')


async def test_redoc_is_the_page_itself() -> None:
    async with client() as http:
        assert (await http.get("/redoc")).content == (await http.get("/docs")).content


async def test_the_document_says_under_what_terms_and_licence_it_is_and_where() -> None:
    async with client() as http:
        info = (await http.get("/openapi.json")).json()["info"]
        assert info["license"] == {"name": "MIT", "identifier": "MIT"}
        assert info["termsOfService"] == "/docs#terms"
        assert "<h2 id=terms>" in (await http.get("/docs")).text
        assert (await http.get(info["contact"]["url"])).status_code == 200


async def test_the_docs_can_be_switched_off() -> None:
    async with client(enable_docs=False) as http:
        for path in PAGES:
            assert (await http.get(path)).status_code == 404
        info = (await http.get("/")).json()
    assert (info["docs"], info["openapi"]) == (None, None)


async def test_the_docs_can_be_guarded() -> None:
    async with client(docs_require_key=True, allowed_api_keys=["k"]) as http:
        for path in PAGES:
            refused = await http.get(path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "missing_api_key")
            assert refused.headers["www-authenticate"] == "Bearer"
            assert (await http.get(path, headers={"authorization": "Bearer k"})).status_code == 200


@pytest.mark.parametrize(
    ("accept", "agent", "expected"),
    [
        ("*/*", "curl/8", "json"),
        ("application/json", "python", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "Mozilla", "json"),
        ("text/plain", "curl/8", "Ollama is running"),
        ("application/json", "ollama-python/0.6.3", "Ollama is running"),
    ],
)
async def test_the_root_says_what_its_caller_can_read(accept: str, agent: str, expected: str) -> None:
    async with client() as http:
        reply = await http.get("/", headers={"accept": accept, "user-agent": agent})
    if expected == "json":
        assert reply.json()["providers"] == ["custom"]
        assert "POST /{provider}/v1/chat/completions" in reply.json()["endpoints"]
    else:
        assert reply.text == expected


@pytest.mark.parametrize("path", ["/", "/healthz", "/health", "/ready"])
async def test_head_answers_where_probes_ask(path: str) -> None:
    async with client() as http:
        reply = await http.head(path)
    assert (reply.status_code, reply.content) == (200, b"")


async def test_health_shows_details_to_this_machine_and_to_key_holders_only() -> None:
    async with client(allowed_api_keys=["k"], client_address="203.0.113.9") as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        known = await http.get("/health", headers={"authorization": "Bearer k"})
        assert known.json()["providers"] == [{"name": "custom", "state": "ready", "breaker": "closed"}]
        assert (await http.get("/health", headers={"authorization": "Bearer x"})).status_code == 401
    async with client(allowed_api_keys=["k"]) as http:  # where there are keys, a proxy here may serve anybody
        assert (await http.get("/health")).json() == {"status": "ok"}
    async with client() as http:
        assert "providers" in (await http.get("/health")).json()
        for name in ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip"):
            assert "providers" not in (await http.get("/health", headers={name: "1.2.3.4"})).json()
        assert "providers" not in (await http.get("/health", headers={"host": "rebound.example"})).json()


async def test_ready_is_503_once_the_gateway_drains() -> None:
    application = build(read_configuration(log_level="error"))
    transport = httpx2.ASGITransport(application.asgi)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        assert (await http.get("/ready")).status_code == 503, "not started yet"
        async with aclosing(application):
            await application.start()
            assert (await http.get("/ready")).json() == {"status": "ready"}
            application.lifecycle.draining = True
            reply = await http.get("/ready")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


async def test_the_version_needs_a_key_where_keys_are_needed() -> None:
    async with client(allowed_api_keys=["k"]) as http:
        assert (await http.get("/v1/version")).status_code == 401
        reply = await http.get("/v1/version", headers={"authorization": "Bearer k"})
    assert set(reply.json()) == {"version", "commit", "build_date", "dev"}


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nowhere", 404, None),
        ("GET", "/custom/v2/models", 404, None),
        ("POST", "/custom/v1/models/", 405, "GET, HEAD"),
        ("GET", "/custom/v1/models/", 404, None),
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("DELETE", "/", 405, "GET, HEAD"),
        ("OPTIONS", "/v1/models", 405, "GET, HEAD"),
        ("GET", "/nobody/v1/models", 404, None),
    ],
)
async def test_what_is_not_there_is_told_in_the_envelope(
    method: str, path: str, status: int, allow: str | None
) -> None:
    async with client() as http:
        reply = await http.request(method, path)
    assert reply.status_code == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert reply.headers.get("allow") == allow
    assert reply.headers["x-request-id"]


async def test_a_failure_of_our_own_is_500_without_its_words() -> None:
    asgi = build(read_configuration(log_level="error")).asgi

    async def broken(_: Request) -> Response:
        raise RuntimeError("the-inner-secret")

    asgi.router.add_route("/broken", broken)
    transport = httpx2.ASGITransport(asgi, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        reply = await http.get("/broken")
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "internal_error"
    assert "inner-secret" not in reply.text
    assert reply.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("base", "given", "status"),
    [
        ("http://127.0.0.1:9000", {}, 200),
        ("http://[::1]:9000", {}, 200),
        ("http://testserver", {}, 401),
        ("http://127.8.8.8", {}, 200),
        ("http://localhost.", {}, 401),
        ("http://gpu:9000", {}, 401),
        ("http://localhost:9000", {}, 200),
        ("http://evil.example:9000", {}, 401),
        ("http://192.0.2.5:9000", {}, 401),
        ("http://0.0.0.0:9000", {}, 401),
        ("http://192.0.2.5:9000", {"allow_anonymous": True}, 200),
        ("http://192.0.2.5:9000", {"allowed_api_keys": ["k"]}, 401),
    ],
)
async def test_without_keys_only_this_machine_is_served(base: str, given: dict[str, Any], status: int) -> None:
    async with client(base=base, **given) as http:
        assert (await http.get("/v1/models")).status_code == status


@pytest.mark.parametrize(
    "header",
    [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "X-Forwarded-Anything",
        "via",
        "x-real-ip",
    ],
)
async def test_without_keys_nothing_is_served_that_a_proxy_passes_on(header: str) -> None:
    for given, status in (({}, 401), ({"allow_anonymous": True}, 200), ({"allowed_api_keys": ["k"]}, 200)):
        async with client(**given) as http:
            for path in ("/v1/models", "/custom/v1/models", "/api/tags"):
                reply = await http.get(path, headers={header: "for=127.0.0.1", "authorization": "Bearer k"})
                assert reply.status_code == status, (given, path)


async def test_the_caller_is_let_in_before_its_body_is_read() -> None:
    async with client(allowed_api_keys=["k"]) as http:
        reply = await http.post("/custom/v1/chat/completions", content=b"{nonsense", headers={"content-type": "x/y"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "missing_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-1.2_3", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("", False), ("caf\u00e9", False)],
)
async def test_a_request_id_is_kept_if_it_is_harmless(sent: str, kept: bool) -> None:
    async with client() as http:
        reply = await http.get("/healthz", headers=[(b"x-request-id", sent.encode())])
    assert (reply.headers["x-request-id"] == sent) is kept
    assert reply.headers["openai-version"] == "2020-10-01"
    assert reply.headers["openai-processing-ms"].isdecimal()


async def test_v1_lists_the_built_in_models_plainly_while_there_are_no_others() -> None:
    async with client() as http:
        ids = [model["id"] for model in (await http.get("/v1/models")).json()["data"]]
        assert "custom-chat" in ids
        for model in ids:
            assert (await http.get(f"/v1/models/{model}")).json()["id"] == model


async def test_a_model_is_shown_under_the_id_that_leads_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:9/v1")
    async with client() as http:
        assert (await http.get("/v1/models/custom/custom-chat")).json()["id"] == "custom/custom-chat"
        assert (await http.get("/custom/v1/models/custom-chat")).json()["id"] == "custom-chat"


async def test_v1_routes_by_prefix_and_falls_back_to_the_built_in_provider() -> None:
    async with client() as http:
        for model in ("anything", "custom/anything", "meta/llama:7b"):
            reply = await http.post("/v1/chat/completions", json={**CHAT, "model": model})
            assert reply.status_code == 200
            assert reply.headers["x-gateway-provider"] == "custom"


async def test_with_a_real_provider_v1_stands_in_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", "http://127.0.0.1:9/v1")
    async with client() as http:
        reply = await http.post("/v1/chat/completions", json=CHAT)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
        assert "vllm/..." in reply.json()["error"]["message"]
        listed = await http.get("/v1/models")
    assert listed.headers["x-gateway-models-missing"] == "vllm"
    assert {model["id"].split("/")[0] for model in listed.json()["data"]} == {"custom"}
