"""The operator's rules for models: aliases, routes with several targets, and a default model."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import RouteSettings, Settings
from ai_gateway.providers.config.upstreams import known_providers, unconfigured_hint
from ai_gateway.routing.aliases import Aliases
from ai_gateway.routing.mapping_file import Mapping as MappingFile, read_mapping
from ai_gateway.routing.route import Route, TargetRef

_MAX_NAME_LENGTH = 256
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Rules:
    """Validated against the configured providers."""

    aliases: Aliases = field(default_factory=lambda: Aliases({}))
    routes: Mapping[str, Route] = field(default_factory=dict)
    default_model: str | None = None


def read_rules(
    settings: Settings,
    providers: Collection[str],
    missing: Mapping[str, str] = _NONE,
    warnings: list[str] | None = None,
) -> Rules:
    """The rules for these providers. Raises SettingsError with all problems.

    A target at a known provider without a key is a warning: requests for it fail with an error that says so, and the
    file may be shared with machines that have the key. `missing` has the settings that such providers need.
    """
    problems: list[str] = []
    known = _Providers(providers, missing, [] if warnings is None else warnings)
    mapping = _mapping(settings, problems)
    problems += [
        f"'{name}' is an alias in both gateway.toml and MODEL_MAPPING_FILE: leave one out"
        for name in settings.aliases.keys() & mapping.aliases.keys()
    ]
    table = {**mapping.aliases, **settings.aliases}
    aliases = Aliases(table, known.all_names, settings.routes.keys())
    problems += [f"'{name}' is both an alias and a route" for name in settings.routes.keys() & table.keys()]
    problems += _alias_problems(table, known, settings.routes.keys())
    problems += [f"alias '{name}' leads back to itself" for name in aliases.loops()]
    routes = {name: _route(name, table, known, problems) for name, table in settings.routes.items()}
    if problems:
        raise SettingsError(problems)
    return Rules(aliases, routes, settings.default_model or mapping.default_model)


@dataclass(frozen=True, slots=True)
class _Providers:
    """The configured providers, the other known ones, and the list for warnings about those."""

    configured: Collection[str]
    missing: Mapping[str, str]
    warnings: list[str]

    @property
    def all_names(self) -> Collection[str]:
        return {*self.configured, *self.missing, *known_providers()}

    def hint(self, name: str) -> str | None:
        """The settings that a known but unconfigured provider needs."""
        return None if name in self.configured else self.missing.get(name) or unconfigured_hint(name)


def _mapping(settings: Settings, problems: list[str]) -> MappingFile:
    if settings.model_mapping_file is None:
        return MappingFile()
    try:
        return read_mapping(settings.model_mapping_file)
    except SettingsError as error:
        problems += error.problems
        return MappingFile()


def _alias_problems(table: Mapping[str, str], providers: _Providers, routes: Collection[str]) -> Iterator[str]:
    for name, target in table.items():
        yield from _name_problems("alias", name)
        if not target:
            yield f"alias '{name}' leads nowhere: write the name of a model"
        if name.count("*") > 1:
            yield f"alias '{name}' has more than one *: keep one"
        if target.count("*") > name.count("*"):
            yield f"alias '{name}' leads to '{target}', but nothing says what its * stands for"
        if target not in table and target not in routes:
            yield from _provider_problems(f"alias '{name}' leads to", target, providers)


def _name_problems(kind: str, name: str) -> Iterator[str]:
    if not name.strip() or len(name) > _MAX_NAME_LENGTH or not name.isprintable():
        yield f"the {kind} {name[:40]!r} is no name that a request could carry"


def _provider_problems(subject: str, target: str, providers: _Providers) -> Iterator[str]:
    """A target with a slash has to begin with a provider; without one it may be a model of a list not yet fetched."""
    prefix, slash, rest = target.partition("/")
    if not slash:
        return
    if prefix not in providers.all_names:
        known = ", ".join(sorted(providers.configured))
        yield f"{subject} '{target}', but there is no provider '{prefix}': name one first. Known: {known}"
    elif not rest:
        yield f"{subject} '{target}', which names no model after the provider"
    elif hint := providers.hint(prefix):
        providers.warnings.append(f"{subject} '{target}', but that provider is not configured here: {hint}")


def _route(name: str, table: RouteSettings, providers: _Providers, problems: list[str]) -> Route:
    """The route with the targets whose providers are configured."""
    problems += _name_problems("route", name)
    if "*" in name:
        problems.append(f"route '{name}' has a *: let an alias with a * lead to a route")
    for target in table.targets:
        if "/" not in target:
            problems.append(f"route '{name}': the target '{target}' names no provider: write provider/model")
        problems += _provider_problems(f"route '{name}' has the target", target, providers)
    weight_problems = [f"route '{name}': {problem}" for problem in _weight_problems(table)]
    problems += weight_problems
    weights = table.weights if table.weights is not None and not weight_problems else [1.0] * len(table.targets)
    refs = [(TargetRef(*target.split("/", 1)), weight) for target, weight in zip(table.targets, weights, strict=True)
            if "/" in target]  # fmt: skip
    usable = [(ref, weight) for ref, weight in refs if not providers.hint(ref.provider)]
    drawn = tuple(weight for _, weight in usable)
    return Route(
        tuple(ref for ref, _ in usable),
        drawn if table.weights is not None and any(drawn) else None,
        tuple(dict.fromkeys(ref.provider for ref, _ in refs if providers.hint(ref.provider))),
    )


def _weight_problems(table: RouteSettings) -> Iterator[str]:
    if len(set(table.targets)) < len(table.targets):
        yield "a target stands there twice"
    if table.mode == "fallback":
        if table.weights is not None:
            yield 'weights need mode = "weighted"'
    elif table.weights is None:
        yield 'mode = "weighted" needs weights, one for each target'
    elif len(table.weights) != len(table.targets):
        yield f"{len(table.weights)} weights for {len(table.targets)} targets: give one for each"
    elif not sum(table.weights):
        yield "all weights are 0: at least one target has to be drawn"
