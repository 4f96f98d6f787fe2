"""What `/v1/models` lists: every id that resolves to a target, once, as a model of the contract."""

from ai_gateway.errors import ModelNotFound
from ai_gateway.routing.resolver import Routing, Target
from gateway_contract.openai import models

# The creation time of an alias or a listed model is unknown. A constant is the same in every response and replica.
_CREATED = 1_767_225_600


class PublicModels:
    """The list, cached until the routing snapshot or a provider's own list changes."""

    def __init__(self) -> None:
        self._built_from: tuple[Routing, int] | None = None
        self._models: list[models.Model] = []

    async def read(self, routing: Routing) -> tuple[list[models.Model], list[str]]:
        """The models, and the names of the providers whose list is not available."""
        await routing.catalogue.ensure_loaded()
        built_from = self._built_from
        if built_from is None or built_from[0] is not routing or built_from[1] != routing.catalogue.version:
            self._built_from = routing, routing.catalogue.version
            public = (public_model(routing, name) for name in routing.ids())
            self._models = [model for model in public if model is not None]
        return self._models, [cached.provider.name for cached in routing.catalogue.cached if cached.listed is None]


def public_model(routing: Routing, name: str) -> models.Model | None:
    """The model of this id, from the cached lists; None if it has to be fetched from its provider."""
    try:
        resolution = routing.find(name)
    except ModelNotFound:
        return None
    if resolution is None:
        return None
    target = resolution.targets[0]
    aliased = routing.rules.aliases.follow(name) != name
    if resolution.by_route or target.listed is not None or aliased:
        return models.Model(id=name, object="model", created=_CREATED, owned_by=target.provider.name)
    return _model_of_provider(routing, name, target)


def _model_of_provider(routing: Routing, name: str, target: Target) -> models.Model | None:
    known = routing.catalogue.get(target.provider.name, target.model)
    return known.model_copy(update={"id": name}) if known is not None else None
