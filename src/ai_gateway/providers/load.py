"""From a configured upstream to the provider that speaks its wire, imported only now."""

from pkgutil import resolve_name
from typing import cast

from ai_gateway.providers.base import Provider
from ai_gateway.providers.upstream import Upstream


def load_provider(upstream: Upstream) -> Provider:
    """The adapter that the row names, made for this upstream."""
    adapter = resolve_name(upstream.row.adapter)
    return cast("Provider", adapter(upstream))
