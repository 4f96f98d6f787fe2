"""`openapi`: the contract as a gateway with this configuration serves it."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer

from ai_gateway.api.gateway.docs import document
from ai_gateway.app.application import Application
from ai_gateway.cli.problems import print_problems
from ai_gateway.cli.starting import built

openapi = typer.Typer(no_args_is_help=True, help="The OpenAPI document of this gateway.")

_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$-]*")
# What a reader of YAML takes for something else than a text, in its versions 1.1 and 1.2.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
# Printable in JSON, but not in YAML, or the end of a line there (yaml.org/spec/1.2.2, 5.1 and 5.4).
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


@openapi.callback()
def _group() -> None:
    """The OpenAPI document of this gateway."""


@openapi.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to write it [standard output].")] = None,
    *,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Write YAML instead of JSON.")] = False,
) -> None:
    """Write the document that /openapi.json serves with this configuration.

    Exit code 0: written. 1: the file cannot be. 2: the configuration cannot be used.
    """
    contract = asyncio.run(_contract(built(log_level="error")))
    content = "\n".join([*yaml_lines(contract), ""]).encode() if as_yaml else document(contract)
    if file is None:
        typer.echo(content, nl=False)
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        print_problems([f"{file}: cannot be written: {error.strerror}"])
        raise typer.Exit(1) from None


async def _contract(application: Application) -> dict[str, Any]:
    """As it holds once the store has been read: a key in it is needed by callers."""
    async with aclosing(application):
        await application.start()
        return application.parts.contract


def yaml_lines(value: object, indent: str = "") -> Iterator[str]:
    """A value of JSON as YAML: a line for each key and item, and texts as JSON has them, which YAML reads as well."""
    if not _is_nested(value):
        yield f"{indent}{_scalar(value)}"
    for head, each in _parts(value):
        if _is_nested(each):
            yield f"{indent}{head}"
            yield from yaml_lines(each, f"{indent}  ")
        else:
            yield f"{indent}{head} {_scalar(each)}"


def _is_nested(value: object) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from ((f"{_key(name)}:", each) for name, each in value.items())
    elif isinstance(value, list):
        yield from (("-", each) for each in value)


def _key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) and name.lower() not in _WORDS else _scalar(name)


def _scalar(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text) if isinstance(value, str) else text
