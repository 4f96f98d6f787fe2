"""A path without an operation: the answer names the likely one, and what the client has to be set to."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration

pytestmark = pytest.mark.anyio
HERE = "http://127.0.0.1:9000"


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    asgi = build(read_configuration(log_level="error")).asgi
    async with (
        asgi.router.lifespan_context(asgi),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(asgi), base_url=HERE) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("path", "likely", "base_url"),
    [
        ("/chat/completions", "/v1/chat/completions", "/v1"),
        ("/completions", "/v1/completions", "/v1"),
        ("/embeddings", "/v1/embeddings", "/v1"),
        ("/custom/chat/completions", "/custom/v1/chat/completions", "/custom/v1"),
        ("/custom/v1/v1/embeddings", "/custom/v1/embeddings", "/custom/v1"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions", "/v1"),
        ("/custom/v1/chat/completions/chat/completions", "/custom/v1/chat/completions", "/custom/v1"),
        ("/v1/chat/completions/embeddings", "/v1/embeddings", "/v1"),
        ("/v1/chat/completions/", "/v1/chat/completions", "/v1"),
        ("/v1//chat/completions", "/v1/chat/completions", "/v1"),
        ("//v1/chat/completions", "/v1/chat/completions", "/v1"),
        ("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", "/v1/chat/completions", "/v1"),
        ("/custom/deployments/m/embeddings", "/custom/v1/embeddings", "/custom/v1"),
        # No provider has these.
        ("/custom/v1/organization/projects", "/v1/organization/projects", "/v1"),
        ("/custom/v1/organization/spend_limit", "/v1/organization/spend_limit", "/v1"),
        ("/custom/v1/gateway/usage", "/v1/gateway/usage", "/v1"),
    ],
)
async def test_the_likely_path_and_the_base_url_to_set(
    http: httpx2.AsyncClient, path: str, likely: str, base_url: str
) -> None:
    reply = await http.post(f"{HERE}{path}", json={})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (404, "not_found")
    assert f"The likely path is {likely}: set the client's base_url to {HERE}{base_url}" in error["message"]
    if "deployments" in path:
        assert "the model to the name after 'deployments'." in error["message"]


@pytest.mark.parametrize(
    "path", ["/v1/organization/projects/", "/v1/organization/usage//costs", "/v1//organization/costs"]
)
async def test_a_path_with_too_many_slashes_is_said_to_be_one(http: httpx2.AsyncClient, path: str) -> None:
    message = (await http.get(f"{HERE}{path}")).json()["error"]["message"]
    plain = "/".join(step for step in path.split("/") if step)
    known = plain != "v1/organization/usage/costs"
    assert (f"The likely path is /{plain}, without further slashes." in message) is known
    assert known or "This gateway has no such operation: of the Administration API" in message


@pytest.mark.parametrize(
    ("path", "likely", "base_url"),
    [
        ("/messages", "/v1/messages", ""),
        ("/custom/v1/v1/messages/count_tokens", "/custom/v1/messages/count_tokens", "/custom"),
    ],
)
async def test_clients_that_add_v1_themselves_are_not_told_to_add_it(
    http: httpx2.AsyncClient, path: str, likely: str, base_url: str
) -> None:
    reply = await http.post(path, json={})
    assert reply.status_code == 404
    assert f"The likely path is {likely}: clients that add /v1 themselves" in reply.text
    assert f"base_url {HERE}{base_url}." in reply.text
    asked = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
    twice = await http.post("/v1/v1/messages", json=asked)
    assert "before it where the client adds /v1 itself" in twice.text


@pytest.mark.parametrize("path", ["/models", "/custom/models", "/models/custom-chat", "/openai/models"])
async def test_models_are_asked_for_below_v1_too(http: httpx2.AsyncClient, path: str) -> None:
    door = "/custom/v1" if path.startswith("/custom") else "/v1"
    message = (await http.get(path)).json()["error"]["message"]
    assert f"The likely path is {door}/models{'/{model}' if 'chat' in path else ''}: set" in message


@pytest.mark.parametrize("path", ["/v1/api/chat", "/api/api/chat", "/api/chat/", "/custom/api/chat"])
async def test_ollamas_clients_are_told_in_their_own_words(http: httpx2.AsyncClient, path: str) -> None:
    reply = await http.post(path, json={})
    error = reply.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert reply.status_code == 404
    assert f"The likely path is /api/chat: set the client's host, such as OLLAMA_HOST, to {HERE}." in message


@pytest.mark.parametrize("path", ["/v1/v1/chat/completions", "/api/v1/chat/completions", "/docs/v1/chat/completions"])
async def test_a_door_of_ours_is_no_provider(http: httpx2.AsyncClient, path: str) -> None:
    error = (await http.post(path, json={"model": "m", "messages": [{"role": "user", "content": "x"}]})).json()["error"]
    assert error["code"] == "provider_not_found"
    assert "such as /v1/chat/completions: set the client's base_url" in error["message"]


@pytest.mark.parametrize("path", ["/v1", "/custom", "/custom/v1/"])
async def test_a_base_url_alone_says_that_it_is_one(http: httpx2.AsyncClient, path: str) -> None:
    assert "is a base_url" in (await http.post(path, json={})).json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/v1/files", "files"),
        ("/v1/files/file-1/content", "files"),
        ("/custom/v1/batches", "batches"),
        ("/v1/vector_stores/vs_1/files", "vector stores"),
        ("/images/generations", "images"),
        ("/v1/conversations", "conversations"),
    ],
)
async def test_what_openais_api_has_and_the_gateway_has_not_is_said_to_be_so(
    http: httpx2.AsyncClient, path: str, what: str
) -> None:
    reply = await http.post(path, json={})
    assert reply.status_code == 404
    message = reply.json()["error"]["message"]
    assert f"This gateway has no {what}: of OpenAI's API it serves chat completions," in message
    of_anthropics = await http.post(path, json={}, headers={"anthropic-version": "2023-06-01"})
    assert "This gateway has no" not in of_anthropics.text


async def test_what_is_like_nothing_does_not_come_back(http: httpx2.AsyncClient) -> None:
    for path in ("/nothing", f"/{'x' * 5_000}", "/v1/%0a%22"):
        message = (await http.get(path)).json()["error"]["message"]
        assert message == "There is nothing at this path. See / for what there is."


async def test_a_foreign_host_header_is_not_repeated(http: httpx2.AsyncClient) -> None:
    reply = await http.post("/embeddings", json={}, headers={"host": 'evil"host', "x-forwarded-proto": "https"})
    assert "https://<gateway>/v1" in reply.json()["error"]["message"]
