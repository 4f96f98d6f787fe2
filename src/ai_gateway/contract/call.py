"""One request's identity and what its reply will carry: the only state that travels with a call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic import BaseModel, JsonValue

from ai_gateway.observability.metrics import Event, count

_LONGEST_NAME = 256
_PLAIN = "/:@!$&'()*+,;=?#[]~"


@dataclass(slots=True)
class Call:
    """A request that has passed authorisation.

    `operation` is the contract's operationId without its door suffix. `provider` is the path segment, or None when
    the request came through `/v1` and is routed by model. `trusted` says that the caller may see operational
    details: it named a valid key, or it calls from this machine. `reply_headers` (lower-case names) are added to the
    reply, errors included. `dropped` names what of the request the provider did not get. `exact` is the item that the
    provider's last bytes gave, with those bytes: whoever changes the item makes a new one, so that the bytes no longer
    fit it. `sent` is the body as it was parsed, with the model that it was validated as: it knows the order of keys,
    which models do not keep. `native` is what a caller on another wire said, without model and stream, where only
    providers of that wire can answer: to them it counts for more than its translation. `terminated` says that the
    provider has declared its stream to be over.
    """

    operation: str
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    provider: str | None = None
    trusted: bool = False
    reply_headers: dict[str, str] = field(default_factory=dict)
    repairs: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    exact: tuple[object, bytes] | None = None
    sent: tuple[type[BaseModel], Mapping[str, object]] | None = None
    terminated: bool = False
    native: Mapping[str, JsonValue] | None = None

    def repaired(self, provider: str, rules: Iterable[str]) -> None:
        """Note what had to be mended in the provider's reply: counted, and said in a header while there is time."""
        for rule in rules:
            count(Event.REPAIR, provider, rule)
            self.repairs.add(rule)
        if self.repairs:
            self.reply_headers["x-gateway-repaired"] = ",".join(sorted(self.repairs))

    def called(self, model: str) -> None:
        """Say in the reply what the model is called where it runs. The name may hold anything; a header may not."""
        self.reply_headers["x-gateway-model"] = quote(model[:_LONGEST_NAME], safe=_PLAIN)[:_LONGEST_NAME]

    def begin_again(self, headers: Mapping[str, str]) -> None:
        """Forget what a failed attempt has noted: the reply begins with these headers."""
        self.reply_headers.clear()
        self.reply_headers.update(headers)
        self.repairs.clear()
        self.dropped.clear()
        self.terminated = False
        self.exact = None

    def bytes_of(self, item: object) -> bytes | None:
        """The bytes that `item` came in, if it goes out as it came."""
        return self.exact[1] if self.exact is not None and self.exact[0] is item else None
