"""What a model has read of a search, along with its results and citations, where Anthropic's service has a secret.

Nothing of it is one: the gateway has shown it to the same caller's model, and gets it back with the next request.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final, cast

_KEPT: Final = "gwt1."


def kept(text: str) -> str:
    """The text in a form that clients send back as it is."""
    return _KEPT + base64.urlsafe_b64encode(text.encode("utf-8", "replace")).decode()


def opened(data: str) -> str | None:
    """What a model has read, as it went along with a result or a citation; None for what is not the gateway's."""
    if not data.startswith(_KEPT):
        return None
    try:
        return base64.b64decode(data.removeprefix(_KEPT), b"-_", validate=True).decode()
    except ValueError:
        return None


def read_again(results: Sequence[Any]) -> str | None:
    """What a model has read of the results of a search; None where they are not the gateway's."""
    told = [opened(each.encrypted_content) for each in results]
    return "".join(cast("list[str]", told)) if told and None not in told else None


def is_ours(citation: object) -> bool:
    """Whether a citation is of a search that was made here: the text itself says what it cites."""
    index = getattr(citation, "encrypted_index", None)
    return isinstance(index, str) and opened(index) is not None
