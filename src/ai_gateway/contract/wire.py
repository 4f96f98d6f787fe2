"""Client wires: how each API formats errors, streams and headers."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ai_gateway.contract.framing import EVENTS_DONE, NDJSON, SSE, Framing
from ai_gateway.errors import GatewayError, MissingParameter, Overloaded, is_own_shortage
from ai_gateway.redaction import redact, redact_all

type Headers = Iterable[tuple[bytes, bytes]]
"""The headers of an ASGI request; names are in lower case."""

_MAX_LENGTH = 4_000  # characters of a message, which may quote a model name of megabytes


@dataclass(frozen=True, slots=True)
class Wire:
    """One API as its clients know it. `envelope` makes the JSON body of an error, `framing` the form of its streams.

    `any_content_type` says that the API's own server ignores the media type of JSON bodies. `streams` are the
    operations whose replies are streams by default. `known_as` gives an error the status that its clients expect.
    `own_headers` makes the wire's own response headers from the present ones and the request's id. `carries`: its chats
    have fields that OpenAI's contract lacks (carriers), which some providers take (translate/carriers.py).
    """

    name: str
    envelope: Callable[[GatewayError, str], bytes]
    framing: Framing
    any_content_type: bool = False
    carries: bool = False
    known_as: Callable[[GatewayError], GatewayError] | None = None
    own_headers: Callable[[Mapping[str, str], str], Mapping[str, str]] | None = None
    streams: frozenset[str] = frozenset()
    claims: Callable[[Sequence[str], Headers], bool] | None = None

    def headers(self, headers: Mapping[str, str], request_id: str) -> Mapping[str, str]:
        """The response headers with those of this wire alone."""
        return headers if self.own_headers is None else {**headers, **self.own_headers(headers, request_id)}

    def render(self, error: GatewayError, request_id: str = "") -> bytes:
        """The JSON body of an error: its message, which may quote upstream or caller, is bounded and without keys."""
        if error.native is not None and error.native[0] == self.name:
            return redact(error.native[1].decode(errors="replace")).encode()
        words = {name: getattr(error, name) for name in ("message", "type", "code", "param")}
        shown = {name: new for name, old in words.items() if old and (new := _shown(old)) != old}
        extras = {"extras": redact_all(error.extras)} if error.extras else {}
        return self.envelope(error.changed(**shown, **extras) if shown or extras else error, request_id)


def openai_error(error: GatewayError, _request_id: str = "") -> bytes:
    """OpenAI's error envelope with all four fields that clients read, and an upstream's further ones."""
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return json.dumps({"error": {**error.extras, **fields}}, separators=(",", ":"), ensure_ascii=False).encode()


def ollama_error(error: GatewayError, _request_id: str = "") -> bytes:
    """Ollama's error: the message alone, which begins as its server's does."""
    missing = isinstance(error, MissingParameter) and error.param == "model"
    message = "model is required: add it." if missing else error.message
    return json.dumps({"error": message}, separators=(",", ":"), ensure_ascii=False).encode()


OPENAI = Wire("openai", openai_error, SSE)
RESPONSES = Wire("responses", openai_error, EVENTS_DONE, carries=True)
# See https://github.com/ollama/ollama/blob/main/docs/api.md#conventions.
OLLAMA = Wire(
    "ollama", ollama_error, NDJSON, any_content_type=True, streams=frozenset({"ollamaChat", "ollamaGenerate"})
)


def _shown(words: str) -> str:
    return redact(words) if len(words) <= _MAX_LENGTH else f"{redact(words[:_MAX_LENGTH])} ..."


INTERNAL = GatewayError("The gateway failed. Try again; if it persists, report the request id.")


def as_gateway_error(error: BaseException) -> GatewayError:
    """The error itself if it is a GatewayError; any other becomes an internal error without its message.

    Where files or memory of the machine are short, anything may fail by that, and works again in a while.
    """
    if isinstance(error, GatewayError):
        return error
    return Overloaded("connections") if is_own_shortage(error) else INTERNAL


@dataclass(slots=True)
class PathOwners:
    """Which wire a path belongs to, for errors outside of the contract's operations."""

    _routes: list[tuple[Wire, list[str]]] = field(default_factory=list)

    def add(self, wire: Wire, paths: Iterable[str]) -> None:
        """Paths of the wire's operations, as the contract writes them."""
        self._routes += [(wire, path_steps(path)) for path in paths]

    def wire(self, path: str, headers: Headers = ()) -> Wire:
        """The wire of the path's operation; else the one that claims it, or shares the longest prefix; else OpenAI's.

        If several wires have an operation at the path, the one that claims it wins.
        """
        steps = path_steps(path)
        whole = [wire for wire, segments in self._routes if _is_whole(steps, segments)]
        claiming = self._claiming(steps, headers)
        if claiming is not None and (not whole or claiming in whole):
            return claiming
        best, found = (0, 0), OPENAI
        for wire, segments in self._routes:
            shared = _shared(steps, segments)
            if shared > best:
                best, found = shared, wire
        return found

    def _claiming(self, steps: Sequence[str], headers: Headers) -> Wire | None:
        wires = {wire.name: wire for wire, _ in self._routes}
        return next((wire for wire in wires.values() if wire.claims is not None and wire.claims(steps, headers)), None)

    def answer(
        self, path: str, error: GatewayError, request_id: str, headers: Headers = ()
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, JSON body and headers of the error for a request to `path` with these headers."""
        wire = self.wire(path, headers)
        known = wire.known_as(error) if wire.known_as is not None else error
        return known.status, wire.render(known, request_id), wire.headers(known.headers, request_id)


def path_steps(path: str) -> list[str]:
    """The segments of a path."""
    return path.strip("/").split("/")


def _is_whole(steps: Sequence[str], segments: Sequence[str]) -> bool:
    """Whether the path is an operation's. Its last parameter may contain slashes, as model ids do."""
    fits = all(segment == step or segment.startswith("{") for step, segment in zip(steps, segments, strict=False))
    return fits and (len(steps) == len(segments) or (len(steps) > len(segments) and segments[-1].endswith(":path}")))


def _shared(steps: list[str], segments: list[str]) -> tuple[int, int]:
    """How many leading segments match: up to the first parameter, and in all. A parameter matches anything."""
    first = shared = 0
    fixed = True
    for step, segment in zip(steps, segments, strict=False):
        if segment == step:
            shared += 1
            first += fixed
        elif segment.startswith("{"):
            fixed = False
        else:
            break
    return first, shared
