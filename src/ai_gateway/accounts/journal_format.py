"""The lines of a journal: `H` names the columns of those that follow, `S` is a call that started, `E` one that ended.

A line is a letter and JSON. Values stand in arrays, tokens among them, which takes a third of the time and half of the
bytes that objects take; by the names at the head, another version of the gateway can read them. An `E` has all of its
call's `S` in it, and is complete by itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import orjson

from ai_gateway.accounts.records import AttemptRecord, Record, Start
from ai_gateway.contract.call import Tokens

_INT64 = 2**63 - 1
_CLASSES = tuple(each.name for each in fields(Tokens))
_NO_TOKENS = (None,) * len(_CLASSES)


class _Columns[Made]:
    """How one kind of value stands in an array. `tokens` is its field with tokens, each of which has a column.

    What this version does not know is left out in reading, and what it does not get has its default.
    """

    def __init__(self, made: Callable[..., Made], tokens: str, names: Sequence[str], known: Iterable[str]) -> None:
        self.names = tuple(names)
        self._made, self._tokens = made, tokens
        known = frozenset(known)
        split = [(place, *name.partition(".")) for place, name in enumerate(names)]
        self._plain = [(place, name) for place, name, dot, _ in split if not dot and name in known]
        self._classes = [(place, token) for place, _, dot, token in split if dot and token in _CLASSES]

    def read(self, values: Sequence[Any], **others: object) -> Made:
        """The value that stands in the array, and these others that do not."""
        facts = {name: _unchanging(values[place]) for place, name in self._plain}
        classes = {token: values[place] for place, token in self._classes}
        facts[self._tokens] = Tokens(**classes) if classes.get("input") is not None else None
        return self._made(**facts, **others)


def _names(made: type[Start | Record | AttemptRecord], tokens: str) -> Iterator[str]:
    for each in fields(made):
        if each.name == tokens:
            yield from (f"{tokens}.{token}" for token in _CLASSES)
        elif each.name not in {"start", "attempts"}:
            yield each.name


_START_NAMES, _RECORD_NAMES, _ATTEMPT_NAMES = (
    tuple(_names(made, tokens))
    for made, tokens in ((Start, "bound_tokens"), (Record, "tokens"), (AttemptRecord, "tokens"))
)
_start_values, _record_values, _attempt_values = (
    attrgetter(*names) for names in (_START_NAMES, _RECORD_NAMES, _ATTEMPT_NAMES)
)
_attempt_facts = attrgetter(*(name for name in _ATTEMPT_NAMES if "." not in name))
_TOKENS_AT = next(place for place, name in enumerate(_ATTEMPT_NAMES) if "." in name)

HEAD, STARTED, ENDED = b"H", b"S", b"E"
"""The first byte of each kind of line."""
HEADER = HEAD + orjson.dumps(
    {"start": _START_NAMES, "record": _RECORD_NAMES, "attempt": _ATTEMPT_NAMES}, option=orjson.OPT_APPEND_NEWLINE
)


def started_line(start: Start) -> bytes:
    """The line of a call that begins."""
    return STARTED + _json(_start_values(start)) + b"\n"


def ended_line(started: bytes, record: Record) -> bytes:
    """The line of a call that is over. `started` is the line of its start."""
    attempts = [_attempt(each) for each in record.attempts]
    return ENDED + b"[" + started[1:-1] + b"," + _json((*_record_values(record), attempts)) + b"]\n"


def _attempt(attempt: AttemptRecord) -> tuple[object, ...]:
    if attempt.tokens is not None:
        values: tuple[object, ...] = _attempt_values(attempt)
        return values
    facts: tuple[object, ...] = _attempt_facts(attempt)
    return (*facts[:_TOKENS_AT], *_NO_TOKENS, *facts[_TOKENS_AT:])


def _json(values: Sequence[object]) -> bytes:
    try:
        return orjson.dumps(values)
    except TypeError:  # half a surrogate pair in a text, or an integer of more than 64 bits: from who knows where
        return orjson.dumps(_storable(values))


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
            names = dict(orjson.loads(header[1:]))
            self._start = _Columns(Start, "bound_tokens", names["start"], _START_NAMES)
            self._record = _Columns(Record, "tokens", names["record"], _RECORD_NAMES)
            self._attempt = _Columns(AttemptRecord, "tokens", names["attempt"], _ATTEMPT_NAMES)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the head of a journal: {error}") from error

    def start(self, line: bytes) -> Start:
        """The call that this line says has begun."""
        try:
            return self._start.read(orjson.loads(line[1:]))
        except (TypeError, LookupError) as error:
            raise ValueError(f"not the start of a call: {error}") from error

    def record(self, line: bytes) -> Record:
        """The call that this line says is over."""
        try:
            start, (*facts, attempts) = orjson.loads(line[1:])
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
