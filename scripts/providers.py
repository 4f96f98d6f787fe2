"""Write the tables of docs/providers.md from the catalog of known upstreams: `python -m scripts.providers`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from pkgutil import resolve_name

from ai_gateway.contract.native import ANTHROPIC, RESPONSES
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.providers.upstream import OPENAI_COMPATIBLE, ProviderRow

PAGE = Path(__file__).resolve().parents[1] / "docs" / "providers.md"
_BEGIN = "<!-- Written by `make docs` from the catalog: {} -->\n"
_END = "<!-- End -->\n"
_KNOWN = ("Name", "Base URL", "Key variable", "URL variables", "Configured when", "Is relayed")
_RELAYED = {RESPONSES: "responses", ANTHROPIC: "messages"}
_QUIRKS = ("Provider", "Renamed", "Left out at", "Never sent", "Dropped and named", "Besides")
_FLAGS = (
    ("token_arrays", False, "embeds texts only"),
    ("bare_model_list", True, "may list models as an array"),
    ("lists_models", False, "has no list of models"),
    ("nulls", False, "takes no nulls"),
    ("max_completion_tokens_only", True, "`max_completion_tokens` for callers of other wires"),
    ("accepts_effort_none", True, "`reasoning_effort` none for every model"),
    ("uuid_request_ids", True, "takes UUIDs as request ids only"),
    ("no_developer_role", True, "`developer` as `system`"),
    ("text_parts", False, "text in parts as one string"),
)


def page(text: str) -> str:
    """The page with its tables as the catalog has them."""
    for name, table in (("upstreams", _table(_KNOWN, map(known, ROWS))), ("quirks", _table(_QUIRKS, _quirks()))):
        begin = _BEGIN.format(name)
        before, _, rest = text.partition(begin)
        text = before + begin + table + rest[rest.index(_END) :]
    return text


def known(row: ProviderRow) -> Sequence[str]:
    """The cells of one upstream."""
    when = "the key is set" if row.needs_key else "the key or the URL is set"
    rotating = f", `{row.key_env}_COMMAND`" if row.key_rotates else ""
    urls = ", ".join(f"`{name}`" for name in row.base_url_envs)
    relayed = ", ".join(name for wire, name in _RELAYED.items() if wire in wires_of(row))
    return (f"`{row.name}`", f"`{row.base_url}`", f"`{row.key_env}`{rotating}", urls, when, relayed)


def wires_of(row: ProviderRow) -> frozenset[str]:
    """The wires that the upstream speaks: an adapter of its own knows them itself."""
    adapter = resolve_name(row.adapter)
    return row.wires if row.adapter == OPENAI_COMPATIBLE else frozenset(adapter.wires)


def _quirks() -> Iterable[Sequence[str]]:
    return ((f"`{row.name}`", *quirk_cells(row.quirks, row.key_header)) for row in ROWS if _differs(row))


def _differs(row: ProviderRow) -> bool:
    return row.quirks != Quirks() or row.key_header != "authorization"


def quirk_cells(quirks: Quirks, key_header: str = "authorization") -> Sequence[str]:
    """What makes an upstream different, in the columns of the table."""
    if quirks.refused:
        raise ValueError("the table has no column for refused fields yet")
    besides = [] if key_header == "authorization" else [f"takes the key in `{key_header}`"]
    besides += [f"sends `{name}`" for name in quirks.headers]
    besides += [text for name, value, text in _FLAGS if getattr(quirks, name) is value]
    besides += ["chats with some models go to `/responses`"] if quirks.responses_only else []
    return (
        ", ".join(f"`{ours}` to `{theirs}`" for ours, theirs in quirks.renamed.items()),
        ", ".join(f"`{name}` {json.dumps(value)}" for name, value in quirks.omit_when_default.items()),
        ", ".join(f"`{name}`" for name in sorted(quirks.handled_here)),
        ", ".join(f"`{name}`" for name in sorted(quirks.dropped)),
        "; ".join(besides),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += ["| " + "".join(f"{cell} | " if cell else "| " for cell in row).rstrip() for row in rows]
    return "\n" + "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
