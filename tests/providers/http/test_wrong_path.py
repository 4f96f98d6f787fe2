"""A base URL that is wrong is told apart from a model that is not there, and its setting is named."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ai_gateway.errors import UpstreamWrongAddress
from ai_gateway.providers.http.errors import from_reply
from tests.support.client import get, post
from tests.support.gateway import ONE_ATTEMPT, LiveGateway, SharedGateways
from tests.support.upstream import Exchange, Upstream, running_upstream

PAGE = b"\n<!DOCTYPE html><html><body>Welcome</body></html>"


@pytest.mark.parametrize(
    "body",
    [
        b"404 page not found\n",
        b"<html><head><title>404 Not Found</title></head></html>",
        PAGE,
        b"Not Found",
        {"detail": "Not Found"},
        {"error": {"message": "Invalid URL (POST /v1/v1/chat/completions)", "type": "invalid_request_error"}},
        {"error": {"message": "Unknown request URL: POST /openai/chat/completions.", "code": "unknown_url"}},
        {"error": "Unexpected endpoint or method. (POST /chat/completions)"},
        {"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}},
        {"message": "Cannot POST /chat/completions", "statusCode": 404},
        {"message": "no Route matched with those values"[:8]},
        {"message": "Resource not found"},
    ],
)
@pytest.mark.parametrize("status", [404, 405])
def test_what_servers_say_of_a_path_that_they_do_not_have(status: int, body: Any) -> None:
    error = from_reply("up", status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert isinstance(error, UpstreamWrongAddress)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}),
        (404, {"error": {"message": "model 'llama3' not found"}}),
        (404, {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}),
        (404, {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}}),
        (404, {"error": {"message": "No endpoints found for x/y."}}),
        (404, {"detail": "No deployment of this model"}),
        (400, {"detail": "Not Found"}),
        (500, PAGE),
    ],
)
def test_what_is_said_of_a_model_or_of_anything_else_is_left_as_it_is(status: int, body: Any) -> None:
    error = from_reply("up", status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert not isinstance(error, UpstreamWrongAddress)


async def elsewhere(exchange: Exchange) -> None:
    if exchange.seen.model == "page":
        await exchange.reply(PAGE, content_type="text/html")
    else:
        await exchange.json({"detail": "Not Found"}, status=404)


@pytest.fixture(scope="module")
def misplaced() -> Iterator[Upstream]:
    with running_upstream(elsewhere) as running:
        yield running


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways, misplaced: Upstream) -> LiveGateway:
    url = misplaced.url
    env = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "k", "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "k"}
    return gateway_for(**env, PROVIDER_LAB_BASE_URL=url, OLLAMA_HOST=url, **ONE_ATTEMPT)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", ["m", "page"])
@pytest.mark.parametrize(
    ("provider", "setting"),
    [
        ("openai", "OPENAI_BASE_URL"),
        ("anthropic", "ANTHROPIC_BASE_URL"),
        ("lab", "PROVIDER_LAB_BASE_URL"),
        ("ollama", "OLLAMA_HOST"),
    ],
)
def test_the_setting_to_check_is_named(
    live: LiveGateway, provider: str, setting: str, model: str, *, stream: bool
) -> None:
    stream &= model == "m" or provider in {
        "openai",
        "lab",
    }  # the other wires read no page as a whole where lines are due
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    for path in (f"/{provider}/v1/chat/completions", "/api/chat"):
        named = body if path.startswith(f"/{provider}") else {**body, "model": f"{provider}/{model}"}
        reply = post(live, path, named)
        error = reply.json()["error"]
        message = error if isinstance(error, str) else error["message"]
        status, code = (404, "upstream_wrong_address") if model == "m" else (502, "upstream_invalid_response")
        assert (reply.status_code, f"check {setting}" in message) == (status, True), reply.text
        if isinstance(error, dict):
            assert error["code"] == code


def test_a_server_that_shows_no_single_model_has_none_of_that_name(live: LiveGateway) -> None:
    reply = get(live, "/lab/v1/models/m")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
