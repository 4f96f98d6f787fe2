"""The lines of a journal: `H` names the columns of those that follow, `S` is a call that started, `E` one that ended.

A line is a letter and JSON. Values stand in arrays, tokens among them, which takes a third of the time and half of the
bytes that objects take; by the names at the head, another version of the gateway can read them. An `E` has all of its
call's `S` in it, and is complete by itself.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from orjson import OPT_APPEND_NEWLINE, dumps, loads

from ai_gateway.accounts.records import AttemptRecord, Record, Start
from ai_gateway.contract.tokens import Tokens

_INT64 = 2**63 - 1
_CLASSES = Tokens._fields
_NO_TOKENS = (None,) * len(_CLASSES)


class _Columns[Made]:
    """How one kind of value stands in an array. Each class of its `tokens`, if it has such, has a column.

    What this version does not know is left out in reading, and what it does not get has its default.
    """

    def __init__(self, made: Callable[..., Made], names: Sequence[str], known: Iterable[str]) -> None:
        self._made = made
        known = frozenset(known)
        split = [(place, *name.partition(".")) for place, name in enumerate(names)]
        self._plain = [(place, name) for place, name, dot, _ in split if not dot and name in known]
        self._classes = [(place, token) for place, _, dot, token in split if dot and token in _CLASSES]

    def read(self, values: Sequence[Any], **others: object) -> Made:
        """The value that stands in the array, and these others that do not."""
        facts = {name: _unchanging(values[place]) for place, name in self._plain}
        if self._classes:
            classes = {token: values[place] for place, token in self._classes}
            facts["tokens"] = Tokens(**classes) if classes.get("input") is not None else None
        return self._made(**facts, **others)


_TOKENS = tuple(f"tokens.{token}" for token in _CLASSES)
_RECORD_NAMES = (*Record._fields[2:-1], *_TOKENS)  # without the start, and the attempts at its end
_ATTEMPT_FACTS = tuple(each.name for each in fields(AttemptRecord) if each.name != "tokens")
_attempt_facts = attrgetter(*_ATTEMPT_FACTS)
_ATTEMPT_NAMES = (*_ATTEMPT_FACTS, *_TOKENS)

HEAD, STARTED, ENDED = b"H", b"S", b"E"
"""The first byte of each kind of line."""
HEADER = HEAD + dumps(
    {"start": Start._fields, "record": _RECORD_NAMES, "attempt": _ATTEMPT_NAMES}, option=OPT_APPEND_NEWLINE
)


def started_line(start: Start) -> bytes:
    """The line of a call that begins."""
    try:
        return b"S" + dumps(start[:], None, OPT_APPEND_NEWLINE)  # not `tuple(start)`, which takes twice as long
    except TypeError:
        return b"S" + _json(start[:])


def ended_line(started: bytes, record: Record) -> bytes:
    """The line of a call that is over. `started` is the line of its start."""
    attempts = record[-1]
    facts = record[2:-1] + record[1] + (([_attempt(each) for each in attempts] if attempts else ()),)
    try:
        return b"".join((b"E[", started[1:-1], b",", dumps(facts), b"]\n"))
    except TypeError:
        return b"".join((b"E[", started[1:-1], b",", _json(facts)[:-1], b"]\n"))


def _attempt(attempt: AttemptRecord) -> tuple[object, ...]:
    tokens = attempt.tokens if attempt.tokens is not None else _NO_TOKENS
    return (*_attempt_facts(attempt), *tokens)


def _json(values: Sequence[object]) -> bytes:
    """With an end of line behind it."""
    try:
        return dumps(values, None, OPT_APPEND_NEWLINE)
    except TypeError:  # half a surrogate pair in a text, or an integer of more than 64 bits: from who knows where
        return dumps(_storable(values), None, OPT_APPEND_NEWLINE)


def _storable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-_INT64, min(value, _INT64))
    return [_storable(each) for each in value] if isinstance(value, list | tuple) else value


class LineReader:
    """Reads lines as their head says. Raises ValueError for what is no whole line."""

    def __init__(self, header: bytes = HEADER) -> None:
        try:
            names = dict(loads(header[1:]))
            self._start = _Columns(Start, names["start"], Start._fields)
            self._record = _Columns(Record, names["record"], _RECORD_NAMES)
            self._attempt = _Columns(AttemptRecord, names["attempt"], _ATTEMPT_NAMES)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the head of a journal: {error}") from error

    def start(self, line: bytes) -> Start:
        """The call that this line says has begun."""
        try:
            return self._start.read(loads(line[1:]))
        except (TypeError, LookupError) as error:
            raise ValueError(f"not the start of a call: {error}") from error

    def record(self, line: bytes) -> Record:
        """The call that this line says is over."""
        try:
            start, (*facts, attempts) = loads(line[1:])
            return self._record.read(
                facts,
                start=self._start.read(start),
                attempts=tuple(self._attempt.read(each) for each in attempts),
            )
        except (TypeError, LookupError) as error:
            raise ValueError(f"not the record of a call: {error}") from error


def _unchanging(value: object) -> object:
    """JSON knows no tuples."""
    return tuple(_unchanging(each) for each in value) if isinstance(value, list) else value
