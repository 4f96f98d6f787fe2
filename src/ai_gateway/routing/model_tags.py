"""Ollama's tags: `name` and `name:latest` are one model there, so an added tag is not part of the gateway's id."""

from ai_gateway.errors import ModelNotFound
from ai_gateway.routing.resolver import Routing
from ai_gateway.translate.ollama_chat.models import LATEST, tagged


async def model_id(routing: Routing, name: str, wire: str) -> str:
    """The id behind a model's name as callers of this wire write it."""
    return await (known_id if wire == "ollama" else listed_id)(routing, name)


async def known_id(routing: Routing, name: str) -> str:
    """The id for a name at `/api/...`. Ollama adds `:latest` to a name without a tag, so both are equivalent there.

    A name that does not resolve either way is returned without the tag, for the resolver's error message.
    """
    bare = name.removesuffix(LATEST)
    if bare in {"", name} and tagged(name) == name:
        return name
    if routing.registry.only_built_in:
        return bare
    if bare != name:
        await routing.catalogue.ensure_loaded()
        if name in routing.ids():  # some provider has a model with exactly this name
            return name
    candidates = (bare, bare + LATEST)
    match = next((candidate for candidate in candidates if _resolves(routing, candidate)), None)
    if match is None:
        await routing.catalogue.ensure_loaded()
        match = next((candidate for candidate in candidates if _resolves(routing, candidate)), bare)
    return match


async def listed_id(routing: Routing, name: str) -> str:
    """The id for a name at `/v1`, which may be one that `/api/tags` lists: some software lists there and calls here.

    A tag that the gateway did not add stays, because servers may have models that they do not list.
    """
    bare = name.removesuffix(LATEST)
    if bare in {"", name} or routing.registry.only_built_in:
        return name
    await routing.catalogue.ensure_loaded()
    known = routing.ids()
    if name in known:
        return name
    return bare if bare in known or (not _resolves(routing, name) and _resolves(routing, bare)) else name


def _resolves(routing: Routing, name: str) -> bool:
    """Whether the name resolves, as far as is known. A listed model does even if its provider is not configured."""
    try:
        return routing.find(name) is not None
    except ModelNotFound:
        return True
