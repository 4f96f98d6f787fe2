"""The work of `ai-gateway memories`."""

import orjson
import typer

from ai_gateway.cli.administration.client import Api, Refusal
from ai_gateway.cli.administration.lookup import find_key, find_project
from ai_gateway.cli.administration.show import lines, plain
from ai_gateway.observability.printable import printable
from gateway_contract.openai_admin import models


async def export(api: Api, key: str | None, project: str | None, subject: str | None) -> None:
    """Print every memory of a subject."""
    for memory in await api.every("listMemories", models.MemoryList, **await _subject(api, key, project, subject)):
        typer.echo(printable(orjson.dumps(plain(memory))).decode())


async def delete(api: Api, key: str | None, project: str | None, subject: str | None) -> None:
    """Delete every memory of a subject."""
    deleted = await api.call(
        "deleteMemories", models.MemoriesDeleted, None, **await _subject(api, key, project, subject)
    )
    lines(f"{deleted.deleted} memories were deleted.")


async def _subject(api: Api, key: str | None, project: str | None, subject: str | None) -> dict[str, str | int]:
    """The owner of the memories. Keys of the configuration and deleted ones are only found by id."""
    named: dict[str, str | int] = {}
    if project is not None:
        named["project_id"] = (await find_project(api, project)).id
    if key is not None:
        named["api_key_id"] = await _key_id(api, key, project)
    if subject is not None:
        named["subject"] = subject
    return named


async def _key_id(api: Api, key: str, project: str | None) -> str:
    if key.startswith("key_"):
        return key
    try:
        return (await find_key(api, key, project)).key.id
    except Refusal as refusal:
        raise Refusal([*refusal.problems, "A key that was deleted is found by its id, key_..."]) from None
