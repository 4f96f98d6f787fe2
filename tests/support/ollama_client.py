"""Ollama's Python SDK as tests use it: sync and async alike."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import ollama
import pytest

from tests.support.gateway import TEST_KEY, LiveGateway

type Client = ollama.Client | ollama.AsyncClient


def connect(kind: str, gateway: LiveGateway, key: str = TEST_KEY) -> Client:
    """A client that is `sync` or `async`."""
    make = ollama.AsyncClient if kind == "async" else ollama.Client
    return make(host=gateway.base_url, headers={"authorization": f"Bearer {key}"}, timeout=20)


async def close(client: Client) -> None:
    await settle(client._client.aclose() if isinstance(client, ollama.AsyncClient) else client._client.close())


async def settle[T](value: T | Awaitable[T]) -> T:
    """The result of a call that is sync with one client and a coroutine with the other."""
    return await cast("Awaitable[T]", value) if isinstance(value, Awaitable) else value


async def lines(value: object) -> list[Any]:
    """Every part of a stream, however the client gives it."""
    seen: list[Any] = []
    await collect(value, seen)
    return seen


async def collect(value: object, seen: list[Any]) -> None:
    found = await settle(cast("Any", value))
    if hasattr(found, "__aiter__"):
        async for part in found:
            seen.append(part)  # noqa: PERF401 - what came before an error is wanted too
    else:
        seen.extend(found)


async def refusal(ask: Callable[[], object]) -> ollama.ResponseError:
    with pytest.raises(ollama.ResponseError) as refused:
        await settle(cast("Any", ask()))
    return refused.value
