"""From a name on Ollama's wire to the id that the gateway knows: a tag that nobody chose is no part of it."""

from ai_gateway.errors import ModelNotFound
from ai_gateway.routing.resolver import Routing
from ai_gateway.translate.ollama_chat.models import LATEST, tagged


async def model_id(routing: Routing, name: str, wire: str) -> str:
    """The id behind a model's name as callers of this wire write it."""
    return await (known_id if wire == "ollama" else listed_id)(routing, name)


async def known_id(routing: Routing, name: str) -> str:
    """The id that a name stands for. Ollama adds `:latest` by itself, so with it and without are one name there.

    What leads nowhere either way comes back without the tag, for the resolver to say what there is.
    """
    bare = name.removesuffix(LATEST)
    if bare in {"", name} and tagged(name) == name:
        return name
    if routing.registry.only_built_in:
        return bare
    if bare != name:
        await routing.catalogue.fill()
        if name in routing.ids():  # a model that is really called so, somewhere
            return name
    candidates = (bare, bare + LATEST)
    found = next((one for one in candidates if _leads(routing, one)), None)
    if found is None:
        await routing.catalogue.fill()
        found = next((one for one in candidates if _leads(routing, one)), bare)
    return found


async def listed_id(routing: Routing, name: str) -> str:
    """The id behind a name that `/api/tags` lists, for software that asks for it at `/v1`: Ollama has one set of names.

    A tag that the gateway has not added itself stays, because servers may have models that they do not list.
    """
    bare = name.removesuffix(LATEST)
    if bare in {"", name} or routing.registry.only_built_in:
        return name
    await routing.catalogue.fill()
    known = routing.ids()
    if name in known:
        return name
    return bare if bare in known or (not _leads(routing, name) and _leads(routing, bare)) else name


def _leads(routing: Routing, name: str) -> bool:
    """Whether anybody answers for the name, as far as is known; one that is listed and cannot be had leads as well."""
    try:
        return routing.find(name) is not None
    except ModelNotFound:
        return True
