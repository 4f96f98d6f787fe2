"""Fields that an upstream needs in the next request and Anthropic's wire lacks, sealed in a block.

Clients of Anthropic's API send `redacted_thinking` back unchanged, but not unknown fields.
"""

import base64
from collections.abc import Mapping

from pydantic_core import from_json, to_json

from ai_gateway.translate.carriers import SEALED, kept

type Fields = Mapping[str, object]


def sealed(provider: str, message: Fields, calls: Mapping[str, Fields]) -> str | None:
    """The data of a block with these fields of a message, and of its calls by id; None if there are none."""
    fields = kept(message, calls)
    if fields is None:
        return None
    content = to_json({"provider": provider, **fields})
    return SEALED + base64.urlsafe_b64encode(content).decode()


def unsealed(data: str) -> dict[str, object] | None:
    """The sealed `provider`, `message` and `calls`; None if the block is not the gateway's.

    Clients can forge such a block, so only the fields that the gateway itself adds are taken from it.
    """
    if not data.startswith(SEALED):
        return None
    try:
        value = from_json(base64.urlsafe_b64decode(data.removeprefix(SEALED)))
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("provider"), str):
        return None
    message, calls = value.get("message"), value.get("calls")
    if not isinstance(message, dict) or not isinstance(calls, dict):
        return None
    fields = kept(message, {call: each for call, each in calls.items() if isinstance(each, dict)})
    return None if fields is None else {"provider": value["provider"], **fields}
