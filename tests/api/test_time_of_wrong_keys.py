"""Keys that are none take the same work, whatever is wrong with them: time tells nobody which keys there are.

Time itself is at the mercy of the machine. What is counted is what a request makes the interpreter do, one instruction
of bytecode after the other: that is the same wherever it runs.
"""

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from ai_gateway.accounts.key_format import new_key
from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from tests.support.administration import ADMIN_KEY
from tests.support.command import only
from tests.support.gateway import clean_environment

pytestmark = pytest.mark.slow

TOOL = 4
ROUNDS = 12
"""So many requests of each kind: mostly nothing else runs in between. Now and then there is less to do as well, such as
nobody to be woken up for what is in a queue: a quarter of the way up is what a request takes.
"""
MOST = 1.05
DOORS = {
    "models": ("GET", "/v1/models", b""),
    "chat": ("POST", "/v1/chat/completions", b'{"model": "m", "messages": []}'),
    "ollama": ("POST", "/api/chat", b'{"model": "m", "messages": []}'),
    "administration": ("GET", "/v1/organization/projects", b""),
}


@asynccontextmanager
async def application(home: str) -> AsyncIterator[FastAPI]:
    env = {"STORE_URL": "memory", "ADMIN_API_KEY": ADMIN_KEY, "WRONG_KEYS_PER_MINUTE": "0"}
    with only(clean_environment(home, env)):
        asgi = build(read_configuration(log_level="error")).asgi
    async with asgi.router.lifespan_context(asgi):
        yield asgi


async def ask(asgi: FastAPI, method: str, path: str, body: bytes, key: str) -> tuple[int, Any]:
    """The status of the reply, and its JSON."""
    sent: list[Any] = []
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return left.pop() if left else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [
        (b"host", b"127.0.0.1"),
        (b"authorization", b"Bearer " + key.encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path,
             "raw_path": path.encode(), "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
             "server": ("127.0.0.1", 9000), "asgi": {"version": "3.0"}}  # fmt: skip
    await asgi(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(content or b"null")


async def work_of(asgi: FastAPI, door: tuple[str, str, bytes], key: str) -> int:
    """How many instructions a request with this key takes, which has to be refused."""
    counted, here = 0, threading.get_ident()

    def count(*_: object) -> None:
        nonlocal counted
        counted += threading.get_ident() == here  # what other threads do meanwhile is told as well

    monitoring = sys.monitoring
    monitoring.use_tool_id(TOOL, "work")
    monitoring.register_callback(TOOL, monitoring.events.INSTRUCTION, count)
    try:
        monitoring.set_events(TOOL, monitoring.events.INSTRUCTION)
        status, _ = await ask(asgi, *door, key)
    finally:
        monitoring.set_events(TOOL, monitoring.events.NO_EVENTS)
        monitoring.register_callback(TOOL, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(TOOL)
    assert status == 401
    return counted


async def none_of_ours(asgi: FastAPI) -> dict[str, str]:
    """A key of each kind that is none, or none any more, all as long as one that is."""

    async def post(path: str, body: Any) -> Any:
        status, made = await ask(asgi, "POST", f"/v1/organization/{path}", json.dumps(body).encode(), ADMIN_KEY)
        assert status == 200, made
        return made

    async def account(**fields: Any) -> Any:
        return (await post(f"projects/{project}/service_accounts", {"name": "alice", **fields}))["api_key"]

    project = (await post("projects", {"name": "Team"}))["id"]
    expired, revoked, other = await account(expires_in_seconds=1), await account(), await account()
    status, _ = await ask(asgi, "GET", "/v1/models", b"", revoked["value"])
    assert status == 200
    status, _ = await ask(
        asgi, "DELETE", f"/v1/organization/projects/{project}/api_keys/{revoked['id']}", b"", ADMIN_KEY
    )
    assert status == 200
    right = str(other["value"])
    return {
        "unknown": new_key(),
        "malformed": "x" * len(right),
        "misspelt": right[:-1] + ("a" if right[-1] != "a" else "b"),
        "the beginning of one": right[:-4] + "aaaa",
        "expired": str(expired["value"]),
        "revoked": str(revoked["value"]),
    }


async def test_whatever_is_wrong_with_a_key_takes_the_same_work(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with application(str(tmp_path_factory.mktemp("home"))) as asgi:
        keys = await none_of_ours(asgi)
        statuses: list[int] = []
        while statuses[-1:] != [401]:
            statuses.append((await ask(asgi, "GET", "/v1/models", b"", keys["expired"]))[0])
        for name_of_door, door in DOORS.items():
            for key in keys.values():  # what is done once for all of them is done
                await ask(asgi, *door, key)
            work = {name: [await work_of(asgi, door, key) for _ in range(ROUNDS)] for name, key in keys.items()}
            usual = {name: sorted(counts)[ROUNDS // 4] for name, counts in work.items()}
            assert max(usual.values()) <= MOST * min(usual.values()), (name_of_door, work)
