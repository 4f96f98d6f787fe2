"""The configured providers by name."""

import difflib
from collections.abc import Iterable, Iterator, Mapping

from ai_gateway.config.constants import RESERVED_NAMES
from ai_gateway.errors import ProviderNotFound
from ai_gateway.providers.base import Provider
from ai_gateway.providers.config.upstreams import unconfigured_hint

BUILT_IN = "custom"
_MAX_COMPARED_LENGTH = 40  # as long as the name of a provider may be


class Registry:
    """Looks providers up by their path segment. `missing` names the settings that some known providers lack."""

    def __init__(self, providers: Iterable[Provider], missing: Mapping[str, str] | None = None) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._missing = missing or {}

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

    def hint(self, name: str) -> str | None:
        """The settings that a known but unconfigured provider needs; None for any other name."""
        if name in self._providers:
            return None
        return self._missing.get(name) or unconfigured_hint(name)

    def get(self, name: str) -> Provider:
        """The provider. Raises ProviderNotFound, which lists the known ones and the missing settings."""
        try:
            return self._providers[name]
        except KeyError:
            raise ProviderNotFound(self._unknown(name)) from None

    def _unknown(self, name: str) -> str:
        if name == BUILT_IN:
            return f"The built-in provider '{name}' is switched off here: its operator can set CUSTOM_PROVIDER=on."
        known = f"Known: {', '.join(sorted(self.names)) or 'none'}."
        hint = self.hint(name)
        if hint:
            return f"Provider '{name}' is not configured: {hint}. {known}"
        if name in RESERVED_NAMES:
            likely = "The likely path begins with one /v1, such as /v1/chat/completions"
            ends = "set the client's base_url to end in that, or before it where the client adds /v1 itself"
            return f"'{name}' is no provider. {likely}: {ends}. {known}"
        near = difflib.get_close_matches(name, self.names, n=1) if len(name) <= _MAX_COMPARED_LENGTH else []
        return f"There is no such provider{f'; did you mean {near[0]!r}?' if near else '.'} {known}"
