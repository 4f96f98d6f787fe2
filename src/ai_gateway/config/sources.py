"""Where settings come from: options, environment, `.env` and gateway.toml, each read once a load."""

import errno
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values
from pydantic import ValidationError

from ai_gateway.config.constants import CONFIG_FILE, CONFIG_VARIABLE, DOTENV_FILE, DOTENV_VARIABLE
from ai_gateway.config.fields import FILE_ONLY, SECRET
from ai_gateway.config.problems import SettingsError, shown
from ai_gateway.config.secrets import FILE_SUFFIX, read_secret
from ai_gateway.config.settings import Settings, marked
from ai_gateway.config.validation import closest, invalid_values

_ENVIRONMENT = "environment"
# The second name of a pair is an alias that other gateways use.
ALIASES = {
    "SERVICE_PORT": "PROXY_PORT",
    "REQUEST_TIMEOUT_S": "REQUEST_TIMEOUT",
    "HEALTH_CHECK_TIMEOUT_S": "HEALTH_CHECK_TIMEOUT",
    "OPENAI_BASE_URL": "OPENAI_API_BASE_URL",
}
_FILE_ONLY = frozenset(marked(FILE_ONLY))
_SECRETS = frozenset(marked(SECRET))
# Kubernetes sets PROXY_PORT=tcp://10.0.0.1:80 in every pod beside a service of the name `proxy`, as Docker's links did.
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://.*")


class Variables(dict[str, str]):
    """The set variables, under the first names of aliases; `origins` has the source of each."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: dict[str, str] = {}

    def add(self, name: str, value: str, origin: str) -> None:
        """Set a variable, unless a source of higher precedence has."""
        if name not in self:
            self[name] = value
            self.origins[name] = origin


def origin_of(variables: Mapping[str, str], name: str) -> str:
    """The source of a variable, for messages."""
    return variables.origins.get(name, _ENVIRONMENT) if isinstance(variables, Variables) else _ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Sources:
    """The content of every source, the problems of reading them, and warnings about their content.

    `environment` is that of the process over `.env`, under the first names of aliases and without empty values. `file`
    is gateway.toml, or the file `path`; `options` come from the command line, by field name, and take precedence.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: Mapping[str, object] = field(default_factory=dict, repr=False)
    options: Mapping[str, object] = field(default_factory=dict)
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    path: Path = Path(CONFIG_FILE)

    def origin(self, name: str) -> str:
        """The source of a setting, for messages."""
        if name in self.options:
            return f"option --{name.removeprefix('service_').replace('_', '-')}"
        variable = name.upper()
        for each in (variable, f"{variable}{FILE_SUFFIX}"):
            if each in self.environment:
                return origin_of(self.environment, each)
        return self.path.name

    def has(self, name: str) -> bool:
        """Whether a source has this setting, so that its value is not the default."""
        variable = name.upper()
        named = {variable, f"{variable}{FILE_SUFFIX}"} if name in _SECRETS else {variable}
        return name in self.options or name in self.file or not named.isdisjoint(self.environment)


def read_sources(**options: object) -> Sources:
    """Read all sources. An unreadable one is empty and one of the problems."""
    problems: list[str] = []
    warnings: list[str] = []
    environment = Variables()
    dotenv = Path(os.environ.get(DOTENV_VARIABLE) or DOTENV_FILE)
    for values, origin in ((os.environ, _ENVIRONMENT), (_dotenv(dotenv, problems), dotenv.name)):
        _add(environment, values, origin, warnings)
    for name, alias in ALIASES.items():
        if alias not in environment:
            continue
        environment.add(name, environment[alias], f"{alias} in {origin_of(environment, alias)}")
        if environment[name] != environment[alias] and name.lower() not in options:
            found = (f"{shown(environment[each])} ({origin_of(environment, each)})" for each in (name, alias))
            problems.append(f"{name} and its alias {alias} disagree: set one of them. Now: {', '.join(found)}")
    path = Path(environment.get(CONFIG_VARIABLE, CONFIG_FILE))
    return Sources(environment, _file(path, environment, problems), options, problems, warnings, path)


def _dotenv(path: Path, problems: list[str]) -> Mapping[str, str | None]:
    try:
        if path.is_dir():  # as Docker makes one where the file to be mounted is missing; `dotenv_values` is silent
            problems.append(f"{path}: cannot be read: {os.strerror(errno.EISDIR)}")
            return {}
        if os.environ.get(DOTENV_VARIABLE) and not path.exists():
            problems.append(f"{DOTENV_VARIABLE}: no such file: {path}")
        return dotenv_values(path)
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{path}: not UTF-8 text")
    return {}


def _add(environment: Variables, values: Mapping[str, str | None], origin: str, warnings: list[str]) -> None:
    """Add variables that are not empty; names of settings may be in lower case."""
    known = {*(name.upper() for name in Settings.model_fields), *ALIASES.values()}
    found = Variables()
    for name, value in values.items():
        first = name.upper() if name.upper() in known else name
        if value and first in known and first.endswith("_PORT") and _SERVICE_LINK.fullmatch(value):
            warnings.append(f"{name} is a link to a service, as Kubernetes sets it, and no port: it is ignored")
        elif value:
            found[first] = value  # the last one, if a name is in both cases
    for name, value in found.items():
        environment.add(name, value, origin)


def _file(path: Path, environment: Mapping[str, str], problems: list[str]) -> Mapping[str, object]:
    try:
        if path.is_file() or path.is_dir():  # reading a directory fails, with the reason
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            problems += _unknown(path, table)
            return table
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{path}: not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: not valid TOML: {error}")
    else:
        if CONFIG_VARIABLE in environment:
            problems.append(f"{CONFIG_VARIABLE}: no such file: {path}")
    return {}


def _unknown(path: Path, table: Mapping[str, object]) -> Iterator[str]:
    for name in table:
        if name not in Settings.model_fields:
            yield f"{path.name}: unknown setting {name}{closest(name, Settings.model_fields)}"


def read_settings(sources: Sources) -> Settings:
    """The settings. Raises SettingsError with all problems of the sources and their content."""
    problems = list(sources.problems)
    values = {name: value for name, value in sources.file.items() if name in Settings.model_fields}
    for name in Settings.model_fields:
        variable = name.upper()
        if name in _SECRETS:
            value = read_secret(sources.environment, variable, problems)
        else:
            value = sources.environment.get(variable)
        if value is None:
            continue
        if name in _FILE_ONLY:
            problems.append(f"{variable}: cannot be set in the environment: use {CONFIG_FILE}")
        else:
            values[name] = value
    try:
        settings = Settings.model_validate({**values, **sources.options})
    except ValidationError as error:
        raise SettingsError([*problems, *invalid_values(error, sources.origin)]) from None
    if problems:
        raise SettingsError(problems)
    return settings
