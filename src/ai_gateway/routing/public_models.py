"""What `/v1/models` shows: every id that leads somewhere, once, as a model of the contract."""

from ai_gateway.errors import ModelNotFound
from ai_gateway.routing.resolver import Route, Routing
from gateway_contract.openai import models

# Nobody knows when an alias or a listed model was made. A constant is at least the same in every reply and replica.
_CREATED = 1_767_225_600


class Menu:
    """Kept until the snapshot, or what a provider says it has, is another."""

    def __init__(self) -> None:
        self._made_of: tuple[Routing, int] | None = None
        self._models: list[models.Model] = []

    async def read(self, routing: Routing) -> tuple[list[models.Model], list[str]]:
        """The models, and the names of the providers that have not said what they have."""
        await routing.catalogue.fill()
        if self._made_of is None or self._made_of[0] is not routing or self._made_of[1] != routing.catalogue.version:
            self._made_of = routing, routing.catalogue.version
            self._models = [model for model in (entry(routing, name) for name in routing.ids()) if model is not None]
        return self._models, [shelf.provider.name for shelf in routing.catalogue.shelves if shelf.listed is None]


def entry(routing: Routing, name: str) -> models.Model | None:
    """The model of this id, as far as it is known here; None where only its provider can tell."""
    try:
        found = routing.find(name)
    except ModelNotFound:
        return None
    if found is None:
        return None
    route = found.options[0]
    own = found.planned or route.listed is not None or routing.rules.aliases.follow(name) != name
    return _of_our_own(name, route) if own else _of_the_provider(routing, name, route)


def _of_our_own(name: str, route: Route) -> models.Model:
    return models.Model(id=name, object="model", created=_CREATED, owned_by=route.provider.name)


def _of_the_provider(routing: Routing, name: str, route: Route) -> models.Model | None:
    known = routing.catalogue.known(route.provider.name, route.model)
    return known.model_copy(update={"id": name}) if known is not None else None
