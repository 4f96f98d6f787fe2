"""A server of the Model Context Protocol that lists and answers what a test tells it, true or not."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.upstream import Exchange, Upstream, running_upstream

type Answer = dict[str, Any] | Callable[[Exchange, int], Any]


@dataclass
class FakeMcp:
    """`tools` is what it lists; a call of one is answered by what stands under its name in `answers`.

    An answer is the `result` of the JSON-RPC reply, or writes the reply by itself, for the id of the request.
    With `sessions` it keeps one for each client, with a stream for its own messages that stays open. While it is
    `silent` it answers nobody who asks what its tools are.
    """

    tools: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    sessions: bool = False
    silent: bool = False

    async def behave(self, exchange: Exchange) -> None:
        if self.sessions and exchange.seen.method == "GET":
            await exchange.open_stream()
            await exchange.hang()
            return
        if exchange.seen.method != "POST":
            await exchange.reply(b"", status=405)
            return
        asked = exchange.seen.json
        if "id" not in asked or "method" not in asked:  # a notification, or a reply to what was asked back
            await exchange.reply(b"", status=202)
            return
        await self._answer(exchange, asked)

    async def _answer(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        headers = {}
        match asked["method"]:
            case "initialize":
                version = asked["params"]["protocolVersion"]
                info = {"name": "fake", "version": "1"}
                result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
                headers = {"mcp-session-id": "s"} if self.sessions else {}
            case "tools/list":
                if self.silent:
                    await exchange.hang()
                result = {"tools": self.tools}
            case "tools/call":
                answer = self.answers[asked["params"]["name"]]
                if not isinstance(answer, dict):
                    await answer(exchange, asked["id"])
                    return
                result = answer
            case _:
                result = {}
        await exchange.json({"jsonrpc": "2.0", "id": asked["id"], "result": result}, headers=headers)


def listed(name: str, **more: Any) -> dict[str, Any]:
    """A tool as servers list it."""
    return {"name": name, "description": name, "inputSchema": {"type": "object", "properties": {}}, **more}


async def hangs(exchange: Exchange, _: int) -> None:
    await asyncio.sleep(600)


@contextmanager
def running_mcp(fake: FakeMcp) -> Iterator[Upstream]:
    with running_upstream(fake.behave) as running:
        yield running
