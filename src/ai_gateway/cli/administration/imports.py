"""The work of `ai-gateway keys import`: keys for many owners, from a list of names, CSV or JSON."""

import csv
import io
import json as json_format
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TextIO

import typer

from ai_gateway.accounts.key_format import is_mistyped
from ai_gateway.cli.administration.client import Api, Refusal
from ai_gateway.cli.administration.keys import accounts_in, make
from ai_gateway.cli.administration.limits_of import Limits
from ai_gateway.cli.administration.lookup import Found, all_keys, all_projects, chosen_project
from ai_gateway.cli.administration.show import as_json, lines, table, text_of
from ai_gateway.cli.options import Interval, cents, count, seconds
from ai_gateway.config.fields import is_header_value
from ai_gateway.observability.printable import cell_text
from gateway_contract.openai_admin import models

_FIELDS = ("name", "project", "expires", "rpm", "tpm", "rpd", "parallel", "budget", "per", "zone", "models")
_COLUMNS = (*_FIELDS, "digest", "key")
_RESULT = ("name", "project", "status", "id", "value")
_DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key to create, or to import by its digest."""

    name: str
    project: str | None
    expires: int | None
    limits: Limits
    digest: str | None


@dataclass(frozen=True, slots=True)
class Imported:
    """The result for one key. `value` is empty for a key that its owner has already."""

    name: str
    project: str
    status: str
    id: str = ""
    value: str = ""


async def import_keys(api: Api, file: Path, project: str | None, out: Path | None, *, json: bool) -> None:
    """Create every key in a file, which is read completely first."""
    wanted = read_wanted(file)
    projects = await all_projects(api)
    default = _DEFAULT if project is None else project
    places = [chosen_project(projects, each.project or default) for each in wanted]
    used = {place.id: place for place in places}
    have = {_of(each) for each in await all_keys(api, used.values(), administrators=False)}
    accounts = {place.id: await accounts_in(api, place) for place in used.values()}
    sink = _opened(out) if out is not None else None
    results: list[Imported] = []
    try:
        for each, place in zip(wanted, places, strict=True):
            if (place.id, each.name) in have:
                results.append(Imported(each.name, place.name or place.id, "has a key"))
                continue
            have.add((place.id, each.name))
            results.append(await _import(api, each, place, accounts[place.id].get(each.name)))
    finally:  # created keys are shown even after a failure, since they are never shown again
        if sink is not None:
            with sink:
                _write(results, sink)
        if results:
            _report(results, out, json=json)


async def _import(api: Api, wanted: Wanted, project: models.Project, account_id: str | None) -> Imported:
    body = wanted.limits.body(wanted.expires)
    if wanted.digest is not None:
        body["digest"] = wanted.digest
    made = await make(api, wanted.name, project, body, account_id)
    status = "taken over" if wanted.digest is not None else "created"
    return Imported(wanted.name, project.name or project.id, status, str(made["id"]), str(made["value"]))


def _of(found: Found) -> tuple[str, str]:
    return found.project.id if found.project is not None else "", found.owner


def _opened(out: Path) -> TextIO:
    """Create the output file, readable by its owner only, before any key is created. Raises Refusal."""
    try:
        return os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="")
    except OSError as error:
        raise Refusal(f"--out: {out} cannot be made: {error.strerror}", 2) from error


def _write(results: Sequence[Imported], sink: TextIO) -> None:
    writer = csv.writer(sink)
    writer.writerow(_RESULT)
    writer.writerows(map(cell_text, _row(each)) for each in results)


def _row(imported: Imported) -> tuple[str, ...]:
    return tuple(str(getattr(imported, column)) for column in _RESULT)


def _report(results: Sequence[Imported], out: Path | None, *, json: bool) -> None:
    rows = [_row(each) for each in results]
    if json:
        shown = _RESULT if out is None else _RESULT[:-1]
        as_json({"object": "list", "data": [dict(zip(shown, row, strict=False)) for row in rows]})
        return
    made = sum(bool(each.value) for each in results)
    if out is None:
        table([column.upper() for column in _RESULT], rows)
        lines("", "Each key is shown this once: only its digest is kept.")
    else:
        lines(f"{made} new keys are in {out}. Hand them out, and delete it: they are stored nowhere else.")
    skipped = sum(each.status == "has a key" for each in results)
    if skipped:
        lines(f"{skipped} had a key already, which they keep.")


def read_wanted(file: Path) -> list[Wanted]:
    """The keys in a file. Raises Refusal with every invalid line."""
    text = text_of(file)
    problems: list[str] = []
    found: list[Wanted] = []
    for where, row in _rows(file, text):
        try:
            found.append(_wanted(row))
        except (ValueError, typer.BadParameter) as error:
            problems.append(f"{file}, {where}: {error}")
    if problems or not found:
        raise Refusal(problems or f"{file}: has no rows", 2)
    return found


def _rows(file: Path, text: str) -> Iterable[tuple[str, Mapping[str, object]]]:
    if text.lstrip().startswith(("[", "{")):
        try:
            value = json_format.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refusal(f"{file}: is no JSON: {error}", 2) from None
        for number, item in enumerate(value if isinstance(value, list) else [value], 1):
            yield f"entry {number}", item if isinstance(item, dict) else {"name": item}
        return
    columns: Sequence[str] = ("name",)
    for number, row in enumerate(_lines_of(file, text), 1):
        cells = [cell.strip() for cell in row]
        if number == 1 and "name" in cells:
            columns = cells
        elif any(cells):
            if len(cells) > len(columns):
                raise Refusal(f"{file}, line {number}: has more columns than its first line names", 2)
            yield f"line {number}", {column: cell for column, cell in zip(columns, cells, strict=False) if cell}


def _lines_of(file: Path, text: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.StringIO(text))
    except csv.Error as error:
        raise Refusal(f"{file}: is no CSV: {error}", 2) from None


def _wanted(row: Mapping[str, object]) -> Wanted:
    unknown = set(row) - set(_COLUMNS)
    if unknown:
        raise ValueError(f"unknown column {sorted(unknown)[0]!r}: there are {', '.join(_COLUMNS)}")
    fields = {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in row.items()
        if value is not None
    }
    if not fields.get("name"):
        raise ValueError("no name: the column 'name' is empty")
    per = fields.get("per", Interval.month)
    if per not in tuple(Interval):
        raise ValueError(f"'per' is one of {', '.join(Interval)}")
    rates = {name: count(fields[name]) for name in ("rpm", "tpm", "rpd", "parallel") if name in fields}
    limits = Limits(
        **rates,
        budget=cents(fields["budget"]) if "budget" in fields else None,
        per=str(per),
        zone=fields.get("zone"),
        models=fields.get("models"),
    )
    expires = seconds(fields["expires"]) if "expires" in fields else None
    return Wanted(fields["name"], fields.get("project"), expires, limits, _digest(fields))


def _digest(fields: Mapping[str, str]) -> str | None:
    """The digest of an existing key. The key itself is not sent."""
    key, digest = fields.get("key"), fields.get("digest")
    if key is not None and digest is not None:
        raise ValueError("has both 'key' and 'digest'")
    if key is not None:
        if not is_header_value(key):
            raise ValueError("'key' holds characters that no header can carry")
        if is_mistyped(key):
            raise ValueError("'key' looks like a key of a gateway, but its checksum does not fit: copy it again")
        return sha256(key.encode()).hexdigest()
    if digest is not None:
        digest = digest.lower().removeprefix("sha256:")
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError("'digest' is no SHA-256 in hex")
    return digest
