"""From a model id to who answers it."""

from dataclasses import dataclass

from ai_gateway.errors import ModelNotFound
from ai_gateway.providers.base import Provider
from ai_gateway.routing.registry import BUILT_IN, Registry


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers, and what the model is called there."""

    provider: Provider
    model: str


class Resolver:
    """The provider in the path decides; else the `provider/` prefix of the model; else the fallback."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resolve(self, provider: str | None, model: str) -> Route:
        """Raises ProviderNotFound or ModelNotFound, which say what there is."""
        if provider is not None:
            return Route(self._registry.get(provider), model)
        prefix, slash, rest = model.partition("/")
        if slash and rest and prefix in self._registry:
            return Route(self._registry.get(prefix), rest)
        # The built-in provider answers anything, so it may stand in only while nobody could be misled by it.
        if self._registry.only_built_in:
            return Route(self._registry.get(BUILT_IN), model)
        names = ", ".join(f"{name}/..." for name in self._registry.names)
        raise ModelNotFound(f"No provider is known for this model. Name one in front of it: {names}.", param="model")
