"""One request as values: its caller, its call, and the notes of each attempt."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol
from urllib.parse import quote

from pydantic import JsonValue

from ai_gateway.contract.budget import Allocation, unbounded
from ai_gateway.contract.open_lists import UnknownKinds
from ai_gateway.contract.rounds import Round, ToolRun
from ai_gateway.contract.stream import Continued, Sink
from ai_gateway.contract.tokens import Tokens
from ai_gateway.contract.wire import OPENAI, Wire
from ai_gateway.errors import GatewayError
from ai_gateway.observability.trace_names import Attributes, Step

DROPPED_HEADER = "x-gateway-dropped-params"
OWN_ID = re.compile("req_[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")
"""Matches a request id that the gateway has made."""
_MAX_NAMES = 50
_HARMLESS = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONGEST_NAME = 256
_LIMITS = "x-ratelimit-"
UPSTREAMS_LIMITS = "x-gateway-upstream-"
"""Prefix of headers that are relayed from an upstream."""
_UNTRACED: AbstractContextManager[Mapping[str, str]] = nullcontext({})  # may be entered repeatedly
_PLAIN = "/:@!$&'()*+,;=?#[]~"
_NO_LIMITS: Mapping[str, str] = MappingProxyType({})


class OwnText(str):
    """A reply header's value that the gateway has computed, such as a limit: it is not searched for keys.

    The search would take longer than making the value, which differs from call to call.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated client. `key_id` names the key without revealing it; None where no key was needed.

    `trusted` callers may see operational details: they have a valid key, or call from this machine. `administers` is
    for keys that make other keys and call no model. `may` holds the permissions of a restricted key; empty for no
    restriction. `expires_at` is in seconds since the epoch. `is_stored` says that the key was made by an administrator,
    and may be revoked by one. `scopes` are the limits that apply to its calls, read by `accounts` alone, and
    `limits_state` is the revision of all limits that they belong to.
    """

    key_id: str | None = None
    name: str = "anonymous"
    trusted: bool = False
    project_id: str = "default"
    administers: bool = False
    may: tuple[str, ...] = ()
    expires_at: int | None = None
    is_stored: bool = False
    scopes: tuple[object, ...] = ()
    limits_state: int = 0

    @property
    def identity(self) -> tuple[str | None, str]:
        """Whose turn it is where callers share something: the key's. All who need no key are one."""
        return self.key_id, self.project_id


ANONYMOUS = Caller()


@dataclass(frozen=True, slots=True)
class Native:
    """A request in the terms of the caller's own wire, without model and stream.

    A provider that speaks this wire itself (`Provider.wires`) sends it unchanged, in place of its translation.
    """

    wire: str
    body: Mapping[str, JsonValue]


@dataclass(slots=True)
class Notes:
    """The notes of one attempt. `attempts` counts it and those before it that reached an upstream.

    `upstream_model` is the upstream's name for the model, if the request had another one. `limits` are the upstream's
    rate-limit and retry headers (lower-case names). `missing` names providers that a list of models lacks. `dropped`
    names request fields, or paths inside them, that the provider did not get. `tokens` is the upstream's own count,
    `service_tier` the tier that it reports.

    `model` is the one that was called, and `failure` is set if the attempt failed. `started`, `answered` (the whole
    reply, or the first item of a stream, has arrived) and `ended` are seconds since the epoch. `chunks` and
    `text_bytes` count what a stream has delivered, for streams without usage. `trace` has the trace headers for the
    upstream where the gateway makes spans; they replace the caller's own. `beside` is the beginning of anything in its
    stream that is not an event.
    """

    provider: str = ""
    upstream_model: str | None = None
    attempts: int = 0
    model: str = ""
    started: float = 0.0
    repairs: Set[str] = frozenset()
    dropped: Set[str] = frozenset()
    limits: Mapping[str, str] = _NO_LIMITS
    missing: tuple[str, ...] = ()
    tokens: Tokens | None = None
    service_tier: str | None = None
    answered: float = 0.0
    ended: float = 0.0
    failure: GatewayError | None = None
    chunks: int = 0
    text_bytes: int = 0
    trace: Mapping[str, str] | None = None
    beside: bytes = b""

    @property
    def are_plain(self) -> bool:
        """Whether all that the headers say is which attempt it was, and at which provider."""
        return not (self.limits or self.dropped or self.repairs or self.missing or self.upstream_model is not None)

    @property
    def reported(self) -> Tokens | None:
        """The upstream's own count, unless it is zeros, or lacks the output of a text: then it has not counted."""
        tokens = self.tokens
        if tokens is None or tokens.output:  # as nearly always
            return tokens
        if self.text_bytes and not tokens.whole_output:
            return None
        return tokens if any(tokens) else None

    def headers(self) -> dict[str, str]:
        """The response headers about this attempt, for errors as well."""
        headers: dict[str, str] = {}
        if self.attempts:
            headers["x-gateway-attempts"] = str(self.attempts)
        if self.provider:
            headers["x-gateway-provider"] = self.provider
        if self.upstream_model is not None:  # an upstream's name may have characters that a header may not
            headers["x-gateway-model"] = quote(self.upstream_model[:_LONGEST_NAME], safe=_PLAIN)[:_LONGEST_NAME]
        if self.dropped:
            headers[DROPPED_HEADER] = header_list(self.dropped)
        if self.limits:
            headers.update(self.limits)
        if self.repairs:
            headers["x-gateway-repaired"] = ",".join(sorted(self.repairs))
        if self.missing:
            headers["x-gateway-models-missing"] = ",".join(self.missing)
        return headers


def header_list(names: Iterable[str]) -> str:
    """Names as a header value: sorted; `+2` at the end for two more that do not fit or cannot be in a header."""
    names = list(names)
    harmless = sorted(filter(_HARMLESS.fullmatch, names))[:_MAX_NAMES]
    more = len(names) - len(harmless)
    return ",".join([*harmless, *([f"+{more}"] if more else [])])


class Bridge(Protocol):
    """Writes chunks that only continue a text as events of the caller's own wire."""

    def preview(self, run: Continued) -> bytes | None:
        """The events, without an effect until `commit`; None if these chunks need the full translation."""

    def commit(self) -> None:
        """The events that were previewed last have been sent."""


class Reservation(Protocol):
    """A call's reservation of its caller's limits while it runs."""

    __slots__ = ()

    @property
    def headers(self) -> Mapping[str, str]:
        """What remains of the limits, and the cost once it is known: all of it values that were computed here."""
        return _NO_LIMITS

    def lines(self) -> str:
        """The headers as the lines of a head."""
        return "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])

    def ran(self, call_id: str, run: ToolRun) -> None:
        """Record a tool run under the model's id of the tool call: once when it begins, and again when it is over."""

    def cost(self) -> int | None:
        """The cost of the call's attempts so far, in 1e-12 USD; None if it is unknown."""

    async def settle(self) -> None:
        """Replace the reservation by the usage in the notes of the attempts. Idempotent; never raises."""

    def settle_at_once(self) -> bool:
        """The same without waiting. Returns whether that was possible."""
        return False

    def abandon(self) -> None:
        """The same for a call whose client has disconnected: does not wait."""


class Trace(Protocol):
    """The trace of a request, where the gateway makes spans. No method waits or raises."""

    @property
    def trace_id(self) -> str:
        """In hex."""

    def attempted(self, notes: Notes) -> Mapping[str, str]:
        """An attempt with these notes begins. Returns the trace headers for its upstream."""

    def step(self, step: Step, attributes: Attributes) -> AbstractContextManager[Mapping[str, str]]:
        """A span around a block, which gets the trace headers for a request that it makes."""

    def afterwards(self) -> "Trace":
        """The trace of work that begins now and outlasts the request: a child span of the request's."""


@dataclass(slots=True)  # not frozen: creating one for every request would cost four times as much
class Call:
    """A request that has passed authorisation. It never changes once it is made.

    `operation` is the contract's operationId without its wire's suffix. `provider` is the path segment, or None when
    the model selects the provider. `parsed` is the body as JSON, which has the order of keys and fields that the models
    lack; `written` is its compact form, if that is known, and `unknown` what the contract does not list of it.
    `attempts` has the notes of every attempt; the last one's reply, or failure, goes out. `sink`, if the server has
    one, writes more of a started stream at once, or returns False. `at_end` are callbacks for the request's end, and
    `allocation` is its part of the memory that all requests share. `size` is the body's in bytes, `recalled` that of
    stored items which go upstream with it. `reservation` is set before the first upstream is called. `bridge` is set
    for a stream that goes to its caller on another wire than that of its operation. `round` is the current round of a
    tool loop, and `rounds` are those before it. `trace` is set where spans are made.
    """

    operation: str
    request_id: str
    caller: Caller = ANONYMOUS
    headers: Mapping[str, str] = field(default_factory=dict)
    provider: str | None = None
    wire: Wire = OPENAI
    parsed: Mapping[str, object] | None = None
    unknown: UnknownKinds | None = None
    sink: Sink | None = None
    allocation: Allocation = field(default_factory=unbounded, repr=False)
    size: int = 0
    trace: Trace | None = None
    written: bytes | None = None
    native: Native | None = None
    attempts: list[Notes] = field(default_factory=list)
    at_end: list[Callable[[], None]] = field(default_factory=list)
    recalled: int = 0
    reservation: Reservation | None = None
    round: Round | None = None
    rounds: Sequence["Call"] = ()
    bridge: Bridge | None = None

    def step(self, step: Step, attributes: Attributes) -> AbstractContextManager[Mapping[str, str]]:
        """A span of the call's trace around a block, which gets the trace headers for a request that it makes."""
        return self.trace.step(step, attributes) if self.trace is not None else _UNTRACED

    def afterwards(self) -> "Call":
        """A copy of the call for work that outlasts the request. That work calls `release` at its end.

        The request's part of the shared memory moves to it.
        """
        return replace(
            self,
            attempts=[],
            sink=None,
            at_end=[],
            allocation=self.allocation.handed_over(),
            reservation=None,
            bridge=None,
            trace=self.trace.afterwards() if self.trace is not None else None,
        )

    def release(self) -> None:
        """Run the callbacks of the request's end."""
        self.allocation.release()
        if self.reservation is not None:
            self.reservation.abandon()
        for callback in self.at_end:
            callback()
        self.at_end.clear()

    def begin_attempt(self, notes: Notes) -> Notes:
        """Add the notes of another attempt."""
        self.attempts.append(notes)
        if self.trace is not None:
            notes.trace = self.trace.attempted(notes)
        return notes

    @property
    def requests_stream(self) -> bool:
        """Whether the reply should be a stream: by the body, or by the wire's default."""
        stream = self.parsed.get("stream") if self.parsed is not None else None
        return bool(stream) if stream is not None else self.operation in self.wire.streams

    async def settle(self) -> None:
        """Settle its reservation, if there is one."""
        if self.reservation is not None:
            await self.reservation.settle()

    def reply_headers(self) -> dict[str, str]:
        """The response headers about the call, for errors as well."""
        headers = self.notes.headers()
        if self.notes.limits:
            self.rename_upstream_limits(headers)
        if self.reservation is not None:
            headers.update(self.reservation.headers)
        if self.wire.own_headers is not None:
            headers.update(self.wire.own_headers(headers, self.request_id))
        return headers

    def rename_upstream_limits(self, headers: dict[str, str]) -> None:
        """Rename the upstream's rate-limit headers, which are the gateway's limits there and not the caller's.

        They keep their own name as well if the caller has no limits here.
        """
        own = self.reservation is not None and any(name.startswith(_LIMITS) for name in self.reservation.headers)
        for name in [name for name in headers if name.startswith(_LIMITS)]:
            headers[UPSTREAMS_LIMITS + name.removeprefix("x-")] = headers[name]
            if own:
                del headers[name]

    @property
    def notes(self) -> Notes:
        """The notes of the last attempt; empty ones if there was none."""
        if not self.attempts:
            self.attempts.append(Notes())
        return self.attempts[-1]


def _ignore(_rule: str) -> None:
    """For replies that are not conformed."""


@dataclass(slots=True)
class Attempt:
    """A call at one provider: the argument of `Provider` methods.

    `deadline` is when the reply must be whole, or its stream have begun (`time.monotonic`). `repaired` reports a rule
    that the provider itself applied; it raises UpstreamInvalidResponse where replies may not be repaired. `divert` may
    be offered packets of whole events while no other item of the stream is in flight; it returns whether it has sent
    them, as a sink does.
    """

    call: Call
    notes: Notes = field(default_factory=Notes)
    deadline: float = math.inf
    repaired: Callable[[str], None] = _ignore
    divert: Sink | None = None

    @property
    def operation(self) -> str:
        return self.call.operation

    @property
    def request_id(self) -> str:
        return self.call.request_id

    @property
    def upstream_request_id(self) -> str:
        """The id for upstreams: a caller's unchanged, one of our own as a bare UUID.

        Some upstreams accept UUIDs only: asgi-correlation-id, for example, takes version 4 alone.
        """
        own = self.call.request_id
        if OWN_ID.fullmatch(own) is None:
            return own
        return f"{own[4:12]}-{own[12:16]}-{own[16:20]}-{own[20:24]}-{own[24:]}"

    @property
    def headers(self) -> Mapping[str, str]:
        return self.call.headers

    def native(self, wire: str) -> Mapping[str, JsonValue] | None:
        """The request in the terms of this wire, if the caller speaks it."""
        native = self.call.native
        return native.body if native is not None and native.wire == wire else None
