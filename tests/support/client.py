"""How tests ask a gateway: one client, one `ask`, and an event stream as its reader sees it."""

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.support.gateway import TEST_KEY, LiveGateway

CHAT, LEGACY, EMBED = "chat/completions", "completions", "embeddings"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "hello"}]},
    LEGACY: {"prompt": "hello"},
    EMBED: {"input": ["one", "two"]},
}
KEY = {"authorization": f"Bearer {TEST_KEY}"}
TIMEOUT_S = 30.0
# A provider's list that could not be had in time, on a busy machine, is asked for again half a minute later.
LISTED_S = 70.0
# Reading the certificates of the world takes a client 40 ms of work, and no test needs one.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def body_of(operation: str, model: str, **fields: Any) -> dict[str, Any]:
    """A small request of this operation; `fields` add to it or replace what it has."""
    return {"model": model, **BODIES[operation], **fields}


def client_of(live: LiveGateway, path: str = "", *, key: str | None = TEST_KEY) -> httpx2.Client:
    """A client of the gateway, or of a part of it such as `/openai/v1/`, with the tests' key if no other is given."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    url = live.base_url + path
    return httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES)


def get(live: LiveGateway, path: str, *, key: str | None = TEST_KEY) -> httpx2.Response:
    with client_of(live, key=key) as client:
        return client.get(path)


def post(
    live: LiveGateway,
    path: str,
    body: object,
    *,
    key: str | None = TEST_KEY,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    with client_of(live, key=key) as client:
        return client.post(path, json=body, headers=headers)


def ask(
    live: LiveGateway,
    model: str,
    operation: str = CHAT,
    *,
    provider: str = "",
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> httpx2.Response:
    """One small request, at its provider's own address or, without one, at `/v1`."""
    path = f"/{provider}/v1/{operation}" if provider else f"/v1/{operation}"
    return post(live, path, body_of(operation, model, **fields), headers=headers)


@dataclass(frozen=True)
class Events:
    """A stream of events as its client read it."""

    chunks: list[dict[str, Any]]
    error: dict[str, Any] | None
    done: bool

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for chunk in self.chunks for choice in chunk["choices"]]

    @property
    def text(self) -> str:
        return "".join(
            choice["text"] if "text" in choice else choice["delta"].get("content") or "" for choice in self.choices
        )


def frames_of(text: str) -> list[str]:
    """The frames of a stream, and what is behind the last one.

    A machine that stood still for some seconds makes a gateway show signs of life between them, which do not count.
    """
    return text.replace(": keep-alive\n\n", "").split("\n\n")


def events_of(response: httpx2.Response) -> Events:
    """Strictly our own frames: `data: ` and a blank line, nothing after the terminator."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    frames = frames_of(response.text)
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames), frames
    payloads = [frame.removeprefix("data: ") for frame in frames]
    done = payloads[-1] == "[DONE]"
    values = [json.loads(payload) for payload in (payloads[:-1] if done else payloads)]
    error = values.pop()["error"] if "error" in values[-1] else None
    assert all("error" not in value for value in values)
    return Events(values, error, done)


def eventually(happened: Callable[[], bool], within: float = 30.0) -> None:
    """Wait until something is so. The bound is only there so that a failure ends."""
    deadline = time.monotonic() + within
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen within {within} s"
        time.sleep(0.02)
