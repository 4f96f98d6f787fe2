"""The table as it is committed: a line of JSON for each id, so that a change of prices reads well as a diff."""

from collections.abc import Mapping
from hashlib import sha256

import orjson

from ai_gateway.accounts.price_table import Row
from scripts.prices.source import LICENCE, NAME


def render(entries: Mapping[str, str | list[Row]]) -> bytes:
    """The whole file. Its basis names the source and what was made of it."""
    lines = b"".join(orjson.dumps([name, entries[name]]) + b"\n" for name in sorted(entries))
    return orjson.dumps({"basis": f"{NAME}-{sha256(lines).hexdigest()[:12]}", "licence": LICENCE}) + b"\n" + lines
