"""Provider plugins of other packages: the entry points of one group, looked up once.

An entry point has the name of its provider and refers to a ProviderRow. Nothing else of a package is imported until its
provider is configured. A broken one stops the start, because its operator installed it to be used.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from ai_gateway.config.problems import SettingsError
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.config.moved import serve_moved_modules
from ai_gateway.providers.upstream import ProviderRow, is_usable_name
from ai_gateway.redaction import redact

GROUP = "ai_gateway.providers"


@cache
def known_rows() -> tuple[ProviderRow, ...]:
    """The gateway's own rows, then those of plugins by name. Raises SettingsError with a line for each broken one."""
    points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, _package(point)))
    if points:
        serve_moved_modules()
    rows: list[ProviderRow] = []
    problems: list[str] = []
    for point in points:
        try:
            rows.append(_row(point, {row.name for row in (*ROWS, *rows)}))
        except _Broken as broken:
            problems.append(f"plugin '{point.name}' ({point.value}) of package {_package(point)}: {broken}")
    if problems:
        raise SettingsError(problems)
    return (*ROWS, *rows)


class _Broken(Exception):
    """The plugin cannot be used; the message says why and what to do."""


def _row(point: EntryPoint, taken: set[str]) -> ProviderRow:
    if not is_usable_name(point.name):
        raise _Broken("its name is not one that a provider can have: mend the package or uninstall it")
    if point.name in taken:
        raise _Broken("there is a provider of this name already: uninstall one of the two")
    try:
        row = point.load()
    except (Exception, SystemExit) as error:  # third-party code can raise anything
        raise _Broken(f"it cannot be imported: {one_line(error)}") from error
    if not isinstance(row, ProviderRow):
        raise _Broken(f"it has to be a ProviderRow and is of type {type(row).__name__}")
    if row.name != point.name:
        raise _Broken("its row has another name than its entry point")
    return row


def one_line(error: BaseException) -> str:
    """A package's exception in one short line, without the keys that the package was given."""
    text = redact(f"{type(error).__name__}: {error}")  # before truncation, which could leave a part of a key
    return " ".join(text.split())[:300]


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "unknown"
