"""The trace context of a caller's request, which is passed on to upstreams: https://www.w3.org/TR/trace-context/."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Later versions may add fields behind the flags (section 3.2.2); ids of zeros alone are invalid (section 3.2.2.3).
_PARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-[ -~]*)?")
_STATE = re.compile("[ -~]{1,512}")


def read_trace_id(traceparent: str) -> str | None:
    """The id of the trace; None for an invalid header, which has to be ignored."""
    found = _PARENT.fullmatch(traceparent)
    return found[1] if found else None


class Parent(NamedTuple):
    """The caller's span, parent of the request's: ids in hex, whether it is sampled, and its `tracestate`."""

    trace_id: str
    span_id: str
    sampled: bool
    state: str


def read_parent(fields: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """The parent in the headers; None without one. Several `tracestate` headers are joined, as in HTTP."""
    parents: list[str] = []
    states: list[str] = []
    for name, value in fields:
        if name == b"traceparent":
            parents.append(value.decode("latin-1"))
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None  # with two headers, none can be trusted
    if found is None:
        return None
    state = ",".join(states)
    sampled = bool(int(found[3], 16) & 1)
    return Parent(found[1], found[2], sampled, state if _STATE.fullmatch(state) else "")


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """A caller's trace headers, for the upstream; none if `traceparent` is invalid."""
    parent = headers.get("traceparent")
    if parent is None or read_trace_id(parent) is None:
        return {}
    state = headers.get("tracestate", "")
    return {"traceparent": parent, **({"tracestate": state} if _STATE.fullmatch(state) else {})}
