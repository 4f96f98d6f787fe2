"""From a configured upstream to the provider that speaks its wire, imported only now."""

from pkgutil import resolve_name
from typing import cast

from ai_gateway.config.settings import SettingsError
from ai_gateway.providers.base import Provider
from ai_gateway.providers.upstream import Upstream


def load_provider(upstream: Upstream) -> Provider:
    """The adapter that the row names, made for this upstream. Raises SettingsError if it cannot be imported here."""
    try:
        adapter = resolve_name(upstream.row.adapter)
    except ImportError as error:  # SDKs look at the environment when imported, and may lack something it asks for
        raise SettingsError([f"provider '{upstream.name}' cannot be loaded: {error}"]) from error
    return cast("Provider", adapter(upstream))
