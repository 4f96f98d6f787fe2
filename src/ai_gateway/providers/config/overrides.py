"""Overrides of a provider's headers and quirks by its table in gateway.toml."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import cast, get_args

from pydantic import SecretStr

from ai_gateway.config.fields import is_web_address
from ai_gateway.config.problems import shown
from ai_gateway.config.settings import ProviderSettings
from ai_gateway.contract.native import ANTHROPIC
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.providers.upstream import OPENAI_COMPATIBLE, ProviderRow
from gateway_contract.openai.parameters import OPERATION_OF, RequestField

_FIELDS = frozenset(get_args(RequestField.__value__))
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# Headers that the gateway sets itself, or that frame the message.
_RESERVED_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
     "te", "trailer", "transfer-encoding", "upgrade", "x-request-id"}
)  # fmt: skip
# Required fields, and `stream`, which the gateway reads itself.
_NEEDED = frozenset(
    {name for model in OPERATION_OF for name, field in model.model_fields.items() if field.is_required()} | {"stream"}
)


def override_quirks(row: ProviderRow, name: str, table: ProviderSettings, problems: list[str]) -> ProviderRow:
    """The row with the quirks of the provider's table added; invalid ones are reported in `problems`."""
    added = Quirks(
        renamed=cast("Mapping[RequestField, str]", table.renamed),
        dropped=frozenset(cast("list[RequestField]", table.dropped)),
        refused=frozenset(cast("list[RequestField]", table.refused)),
    )
    if added == Quirks() and table.token_arrays is None and not table.headers:
        return row
    if row.adapter != OPENAI_COMPATIBLE:
        problems.append(
            f"providers.{name}: headers, renamed, dropped, refused and token_arrays are for OpenAI's wire: "
            "leave them out"
        )
        return row
    invalid = [f"providers.{name}.{problem}" for problem in _problems(table)]
    problems += invalid
    return row if invalid else replace(row, quirks=_joined(row.quirks, added, table.token_arrays))


def override_wires(row: ProviderRow, name: str, table: ProviderSettings, problems: list[str]) -> ProviderRow:
    """The row with the wires that the provider's table says its upstream speaks; `openai` need not be named."""
    if table.wires is None and table.messages_url is None and table.responses_only is None:
        return row
    if row.adapter != OPENAI_COMPATIBLE:
        problems.append(
            f"providers.{name}: wires, messages_url and responses_only are for OpenAI's wire: leave them out"
        )
        return row
    if table.responses_only is not None:
        try:
            re.compile(table.responses_only)
        except re.error as error:
            problems.append(f"providers.{name}.responses_only: {shown(table.responses_only)} is no pattern: {error}")
            return row
        row = replace(row, quirks=replace(row.quirks, responses_only=table.responses_only))
    url = row.messages_url if table.messages_url is None else table.messages_url.strip()
    if url and not is_web_address(url):
        problems.append(f"providers.{name}.messages_url: {shown(url)} must look like https://host/v1")
        return row
    wires = {*row.wires, ANTHROPIC} if table.wires is None else {"openai", *table.wires}
    return replace(row, wires=frozenset(wires), messages_url=url)


def _joined(known: Quirks, added: Quirks, token_arrays: bool | None) -> Quirks:
    return replace(
        known,
        renamed={**known.renamed, **added.renamed},
        dropped=known.dropped | added.dropped,
        refused=known.refused | added.refused,
        token_arrays=known.token_arrays if token_arrays is None else token_arrays,
    )


def _problems(table: ProviderSettings) -> Iterator[str]:
    by_setting = {"renamed": [*table.renamed], "dropped": table.dropped, "refused": table.refused}
    for setting, names in by_setting.items():
        for name in names:
            if name not in _FIELDS:
                yield f"{setting}: the contract has no such request field: see docs/parameters.md for those it has"
            elif name in _NEEDED:
                yield f"{setting}: '{name}' is needed as it is: leave it out"
    if len({header.lower() for header in table.headers}) < len(table.headers):
        yield "headers: one is there twice"
    if not all(map(_FIELD_NAME.fullmatch, table.renamed.values())):
        yield "renamed: the new names have to be names of fields"
    fields = [name for names in by_setting.values() for name in names]
    for name in sorted({name for name in fields if fields.count(name) > 1}):
        yield f"'{name}' is named twice: choose one of renamed, dropped and refused"


def header_problems(name: str, headers: Mapping[str, SecretStr], keyed: Collection[str]) -> Iterator[str]:
    """Problems with these headers, whose names are in lower case; a message never contains a value."""
    for header, value in headers.items():
        text = value.get_secret_value()
        if not _HEADER_NAME.fullmatch(header):
            yield f"provider '{name}': headers: there is a name that is none of a header"
        elif header in _RESERVED_HEADERS:
            yield f"provider '{name}': headers: {header} is the gateway's own to set: leave it out"
        elif header in keyed:
            yield f"provider '{name}': headers: {header} is set by the key: leave one of the two out"
        elif not text.strip() or not (text.isascii() and text.isprintable()):
            yield f"provider '{name}': headers: {header} holds characters that no header can carry, or none"
