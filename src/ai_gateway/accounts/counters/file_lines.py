"""The lines of the counters' file: new values of counters, and which calls hold what."""

import errno
import os
from collections.abc import Iterator, Mapping, MutableMapping
from os import write

import orjson

from ai_gateway.accounts.counters.base import UNITS, Rolling, State
from ai_gateway.accounts.counters.memory import Holder

HEADER = b'"ai-gateway counters 2"'
REPLACED = b"null"
"""The last line of a file that was replaced by a new one."""


def apply(line: bytes, states: MutableMapping[str, State], holders: MutableMapping[str, Holder]) -> None:
    """Apply a line to a copy in memory. Raises ValueError or TypeError for one that is damaged."""
    sums, rolling, held, settled = orjson.loads(line)
    for name, used, kept, until in sums:
        states[name] = State(used, kept, None, until)
    for name, until, last, *parts in rolling:
        state = states.get(name)
        if state is None:
            state = states[name] = State(units=Rolling())
        state.until = until
        units = state.units
        if units is not None:
            units.advance(last)
            for unit, amount in zip(parts[::2], parts[1::2], strict=True):
                units.add(unit, amount - units.at(unit))
    for call, owner, holds in held:
        holders[call] = owner, holds
    for call in settled:
        holders.pop(call, None)


def snapshot(states: Mapping[str, State], holders: Mapping[str, Holder]) -> bytes:
    """The content of a new file: everything."""
    sums: list[object] = []
    rolling: list[object] = []
    for name, state in states.items():
        if state.units is None:
            sums.append((name, state.used, state.held, state.until))
        else:
            rolling.append((name, state.until, state.units.last, *_flat(state.units)))
    held = [(call, *holder) for call, holder in holders.items()]
    return HEADER + b"\n" + orjson.dumps((sums, rolling, held, ())) + b"\n"


def _flat(units: Rolling) -> Iterator[int]:
    for unit in range(units.last - UNITS, units.last + 1):
        if amount := units.at(unit):
            yield unit
            yield amount


def write_all(fd: int, content: bytes) -> None:
    """Raises OSError also if only a part could be written."""
    if write(fd, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def content_of(fd: int, start: int, end: int) -> bytes:
    """The bytes of the file in this range. Raises OSError."""
    parts = []
    while start < end and (part := os.pread(fd, end - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)
