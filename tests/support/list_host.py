"""The host of a model list: it serves a document, or misbehaves, and what it does can be changed while it runs."""

from collections.abc import Awaitable, Callable

from tests.support.upstream import Exchange, Hangup, head


def item(model: str, handle: str, **more: object) -> dict[str, object]:
    return {"model_version": model, "model_family": "f", "handle": handle, "prompt_price_1k": 0.1,
            "completion_price_1k": 0.2, **more}  # fmt: skip


class ListHost:
    """`behave` is the behaviour of an upstream: what `act` is at the moment."""

    def __init__(self, document: object) -> None:
        self.document = document
        self.act: Callable[[Exchange], Awaitable[None]] = self.good

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


FAULTS = {"refuse": refuse, "garbage": garbage, "huge": huge, "redirect": redirect, "hang": hang, "close": close,
          "compressed": compressed}  # fmt: skip
