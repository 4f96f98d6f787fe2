"""The gateway with conformance taken out: what it would cost to relay replies and chunks unread.

There is no such setting, and there is not to be one: even `observe` reads everything. So the places where replies are
held to the contract are replaced here, in a process of their own: `python -m scripts.bench.unchecked serve ...`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel

import ai_gateway.gateway
from ai_gateway.cli import app
from ai_gateway.conform.conformer import Conformer
from ai_gateway.contract.stream import Item, Packet, Verbatim


def _unread[Model: BaseModel](_: Conformer, model: type[Model], received: bytes) -> Item[Model]:
    """Any item will do: the bytes go out as they came."""
    return Item(model.model_construct(choices=[]), received)


async def _unwatched(arrived: AsyncGenerator[Any], *_: object, **__: object) -> AsyncGenerator[Verbatim]:
    async with aclosing(arrived):
        async for piece in arrived:
            if isinstance(piece, Packet):
                yield Verbatim(piece.events)


if __name__ == "__main__":
    if not hasattr(ai_gateway.gateway, "conform_stream"):
        raise SystemExit("conformance has moved: this must follow it")
    setattr(Conformer, "item", _unread)  # noqa: B010 - mypy forbids the plain assignment of a method
    setattr(ai_gateway.gateway, "conform_stream", _unwatched)  # noqa: B010 - as above
    setattr(Conformer, "observes", property(lambda _: True, lambda *_: None))  # noqa: B010 - as above
    app()
