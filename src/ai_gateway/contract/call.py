"""One request's identity and what its reply will carry: the only state that travels with a call."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Call:
    """A request that has passed authorisation.

    `operation` is the contract's operationId without its door suffix. `provider` is the path segment, or None when
    the request came through `/v1` and is routed by model. `trusted` says that the caller may see operational
    details: it named a valid key, or it calls from this machine. `reply_headers` (lower-case names) are added to the
    reply, errors included.
    """

    operation: str
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    provider: str | None = None
    trusted: bool = False
    reply_headers: dict[str, str] = field(default_factory=dict)
