"""What an upstream wants back with its next request and Anthropic's wire has no field for, sealed in a block.

Clients of Anthropic's API send `redacted_thinking` back as it came, and nothing else of what they do not know.
"""

import base64
from collections.abc import Mapping

from pydantic_core import from_json, to_json

from ai_gateway.translate.carriers import SEALED, kept

type Fields = Mapping[str, object]


def sealed(provider: str, message: Fields, calls: Mapping[str, Fields]) -> str | None:
    """The data of a block that holds these fields of a message, and of its calls by their ids; None for none."""
    fields = kept(message, calls)
    if fields is None:
        return None
    content = to_json({"provider": provider, **fields})
    return SEALED + base64.urlsafe_b64encode(content).decode()


def unsealed(data: str) -> dict[str, object] | None:
    """What a block holds: `provider`, `message` and `calls`; None if it is not one of these.

    Anybody can make such a block, so that no other fields are taken from it than those that the gateway puts in.
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
