"""Where settings come from: options, environment, `.env` and gateway.toml, each read once a load."""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values
from pydantic import ValidationError

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import FILE_ONLY, Settings, marked

CONFIG_FILE = "gateway.toml"
_DOTENV = ".env"
# The second name of a pair is an alias for people who come from elsewhere.
ALIASES = {
    "SERVICE_PORT": "PROXY_PORT",
    "REQUEST_TIMEOUT_S": "REQUEST_TIMEOUT",
    "OPENAI_BASE_URL": "OPENAI_API_BASE_URL",
}
_FILE_ONLY = frozenset(marked(FILE_ONLY))


@dataclass(frozen=True, slots=True)
class Sources:
    """What every source contains, and the problems of reading them.

    `environment` is that of the process over `.env`, under the first names of aliases and without empty values.
    `file` is gateway.toml; `options` come from the command line, by field name, and count before all others.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: Mapping[str, object] = field(default_factory=dict, repr=False)
    options: Mapping[str, object] = field(default_factory=dict)
    problems: Sequence[str] = ()


def read_sources(**options: object) -> Sources:
    """Read all of them. What cannot be read counts as empty, and is one of the problems."""
    problems: list[str] = []
    environment = {**_variables(_dotenv(problems)), **_variables(os.environ)}
    for name, alias in ALIASES.items():
        if alias not in environment:
            continue
        value = environment.setdefault(name, environment[alias])
        if value != environment[alias] and name.lower() not in options:
            problems.append(f"{name} and its alias {alias} disagree: set one of them")
    return Sources(environment, _file(environment, problems), options, problems)


def _dotenv(problems: list[str]) -> Mapping[str, str | None]:
    try:
        return dotenv_values(_DOTENV)
    except OSError as error:
        problems.append(f"{_DOTENV}: cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{_DOTENV}: not UTF-8 text")
    return {}


def _variables(values: Mapping[str, str | None]) -> dict[str, str]:
    """Those that are set and not empty; the names of settings are read in lower case too."""
    known = {*(name.upper() for name in Settings.model_fields), *ALIASES.values()}
    return {name.upper() if name.upper() in known else name: value for name, value in values.items() if value}


def _file(environment: Mapping[str, str], problems: list[str]) -> Mapping[str, object]:
    path = Path(environment.get("GATEWAY_CONFIG", CONFIG_FILE))
    try:
        if path.is_file():
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
        if "GATEWAY_CONFIG" in environment:
            problems.append(f"GATEWAY_CONFIG: no such file: {path}")
    return {}


def _unknown(path: Path, table: Mapping[str, object]) -> Iterator[str]:
    for name in table:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f": did you mean {near[0]}?" if near else f". Known: {', '.join(Settings.model_fields)}"
            yield f"{path.name}: unknown setting {name}{hint}"


def read_settings(sources: Sources) -> Settings:
    """The settings. Raises SettingsError with all problems of the sources and of what they contain."""
    problems = list(sources.problems)
    values = {name: value for name, value in sources.file.items() if name in Settings.model_fields}
    for name in Settings.model_fields:
        if name.upper() not in sources.environment:
            continue
        if name in _FILE_ONLY:
            problems.append(f"{name.upper()}: cannot be set in the environment: use {CONFIG_FILE}")
        else:
            values[name] = sources.environment[name.upper()]
    try:
        settings = Settings.model_validate({**values, **sources.options})
    except ValidationError as error:
        raise SettingsError([*problems, *_invalid(error)]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def _invalid(error: ValidationError) -> Iterator[str]:
    """A line for each invalid value, which does not show it."""
    for details in error.errors(include_url=False, include_input=False):
        location = [str(part) for part in details["loc"]]
        name = ".".join(location) if location[0] in _FILE_ONLY else location[0].upper()
        message = details["msg"].removeprefix("Value error, ")
        yield f"{name}: {message[0].lower()}{message[1:]}"
