"""Settings and what they configure: read from every source and checked together, once a start and once a reload."""

from collections.abc import Sequence
from dataclasses import dataclass

from ai_gateway.config.problems import SettingsError, attempt
from ai_gateway.config.settings import Settings
from ai_gateway.config.sources import Sources, read_settings, read_sources
from ai_gateway.providers.config.upstreams import configured_upstreams
from ai_gateway.providers.upstream import Upstream
from ai_gateway.routing.registry import BUILT_IN
from ai_gateway.routing.rules import Rules, read_rules


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, and what they and the environment configure: valid together."""

    settings: Settings
    upstreams: Sequence[Upstream]
    rules: Rules


def read_configuration(**options: object) -> Configuration:
    """Read every source. `options`, by field name, count before all others. Raises SettingsError with all problems."""
    sources = read_sources(**options)
    problems: list[str] = []
    settings = attempt(problems, lambda: read_settings(sources))
    # What the environment alone configures is checked even where the settings are invalid.
    configuration = attempt(problems, lambda: configure(settings or Settings(), sources))
    if configuration is None or problems:
        raise SettingsError(problems)
    return configuration


def configure(settings: Settings, sources: Sources) -> Configuration:
    """What settings and environment configure. Raises SettingsError with all problems."""
    upstreams = configured_upstreams(settings, sources.environment)
    built_in = [BUILT_IN] if settings.custom_provider else []
    providers = [*(upstream.name for upstream in upstreams), *built_in]
    return Configuration(settings, upstreams, read_rules(settings, providers))
