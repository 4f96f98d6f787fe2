"""Search content in `encrypted_content` and similar fields of results and citations, so that clients send it back.

It is encoded and not encrypted: the same caller's model has read it, and needs it again in the next request.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final, cast

_KEPT: Final = "gwt1."


def kept(text: str) -> str:
    """The text, encoded for clients to send back unchanged."""
    return _KEPT + base64.urlsafe_b64encode(text.encode("utf-8", "replace")).decode()


def opened(data: str) -> str | None:
    """The decoded text; None for data that the gateway did not encode."""
    if not data.startswith(_KEPT):
        return None
    try:
        return base64.b64decode(data.removeprefix(_KEPT), b"-_", validate=True).decode()
    except ValueError:
        return None


def read_again(results: Sequence[Any]) -> str | None:
    """The text that the model read of search results; None if they are not the gateway's."""
    told = [opened(each.encrypted_content) for each in results]
    return "".join(cast("list[str]", told)) if told and None not in told else None


def is_ours(citation: object) -> bool:
    """Whether a citation is of a gateway-run search, whose text has the citation itself."""
    index = getattr(citation, "encrypted_index", None)
    return isinstance(index, str) and opened(index) is not None
