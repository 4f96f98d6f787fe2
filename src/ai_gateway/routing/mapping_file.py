"""Read MODEL_MAPPING_FILE: a flat table of aliases, as JSON or TOML."""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from ai_gateway.config.problems import SettingsError

_DEFAULT = "default_model"
_COMMENT = "_"  # JSON has no comments, so files use keys with this prefix instead


@dataclass(frozen=True, slots=True)
class Mapping:
    """The content of the file."""

    aliases: dict[str, str] = field(default_factory=dict)
    default_model: str | None = None


def read_mapping(path: Path) -> Mapping:
    """The file's table. Raises SettingsError with all problems."""
    problems: list[str] = []
    pairs = _pairs(path, problems)
    aliases: dict[str, str] = {}
    for name, target in pairs:
        if not isinstance(target, str) or not target:
            if not name.startswith(_COMMENT):
                problems.append(f"{_where(path)}: '{name}' must lead to the name of a model")
        elif name in aliases:
            problems.append(f"{_where(path)}: '{name}' stands there twice")
        elif not name.startswith(_COMMENT):
            aliases[name] = target
    if problems:
        raise SettingsError(problems)
    default = aliases.pop(_DEFAULT, None)
    return Mapping(aliases, default)


def _pairs(path: Path, problems: list[str]) -> list[tuple[str, object]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".toml":
            return list(tomllib.loads(text).items())
        # As pairs, because a dictionary would silently keep one of two equal keys.
        value = json.loads(text, object_pairs_hook=_Pairs)
    except OSError as error:
        problems.append(f"{_where(path)}: cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{_where(path)}: not UTF-8 text")
    except (ValueError, RecursionError) as error:
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON"
        problems.append(f"{_where(path)}: not valid {kind}: {error}")
    else:
        if isinstance(value, _Pairs):
            return list(value)
        problems.append(f"{_where(path)}: must be an object whose keys are aliases")
    return []


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its duplicate keys."""


def _where(path: Path) -> str:
    return f"MODEL_MAPPING_FILE {path.name}"
