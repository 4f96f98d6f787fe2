"""The configured providers by name."""

import difflib
from collections.abc import Iterable, Iterator

from ai_gateway.errors import ProviderNotFound
from ai_gateway.providers.base import Provider
from ai_gateway.providers.config.upstreams import unconfigured_hint

BUILT_IN = "custom"
_LONGEST_COMPARED = 40  # as long as the name of a provider may be


class Registry:
    """Looks providers up by their path segment."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._providers = {provider.name: provider for provider in providers}

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def __contains__(self, name: str) -> bool:
        return name in self._providers

    @property
    def names(self) -> list[str]:
        """Every name, the built-in one included, in order of configuration."""
        return list(self._providers)

    @property
    def only_built_in(self) -> bool:
        """Whether no real provider is configured."""
        return self.names == [BUILT_IN]

    def get(self, name: str) -> Provider:
        """The provider. Raises ProviderNotFound, which lists the known ones and says what is missing."""
        try:
            return self._providers[name]
        except KeyError:
            raise ProviderNotFound(self._unknown(name)) from None

    def _unknown(self, name: str) -> str:
        if name == BUILT_IN:
            return f"The built-in provider '{name}' is switched off here: its operator can set CUSTOM_PROVIDER=on."
        known = f"Known: {', '.join(sorted(self.names)) or 'none'}."
        hint = unconfigured_hint(name)
        if hint:
            return f"Provider '{name}' is not configured: {hint}. {known}"
        near = difflib.get_close_matches(name, self.names, n=1) if len(name) <= _LONGEST_COMPARED else []
        return f"There is no such provider{f'; did you mean {near[0]!r}?' if near else '.'} {known}"
