"""The gateway with conformance taken out: what it would cost to relay replies and chunks unread.

There is no such setting, and there is not to be one: even `observe` reads everything. So the two places where replies
are held to the contract are replaced here, in a process of their own: `python -m scripts.bench.unchecked serve ...`.
"""

from collections.abc import AsyncGenerator

from pydantic import BaseModel

import ai_gateway.gateway
from ai_gateway.cli import app
from ai_gateway.contract.call import Call
from ai_gateway.providers.openai.provider import OpenAICompatible


def _unread[Item: BaseModel](_: OpenAICompatible, call: Call, model: type[Item], raw: bytes, __: str) -> Item:
    """Any item will do: the bytes go out as they came."""
    item = model.model_construct()
    call.exact = (item, raw)
    return item


def _unwatched[Chunk](chunks: AsyncGenerator[Chunk], _: object, **__: object) -> AsyncGenerator[Chunk]:
    return chunks


if __name__ == "__main__":
    if not hasattr(OpenAICompatible, "_exact") or not hasattr(ai_gateway.gateway, "conform_stream"):
        raise SystemExit("conformance has moved: this must follow it")
    setattr(OpenAICompatible, "_exact", _unread)  # noqa: B010 - mypy forbids the plain assignment of a method
    setattr(ai_gateway.gateway, "conform_choices", lambda reply: (reply, []))  # noqa: B010 - as above
    setattr(ai_gateway.gateway, "conform_stream", _unwatched)  # noqa: B010 - as above
    app()
