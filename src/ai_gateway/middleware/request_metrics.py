"""Metrics of requests, by operation, upstream and outcome."""

import time
from collections.abc import Callable
from typing import override

from ai_gateway.contract.call import Call, Notes
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.contract.tokens import Tokens, quickly
from ai_gateway.observability.error_codes import counted_code
from ai_gateway.observability.families import (
    BODY,
    COST,
    DURATION,
    FIRST_BYTE,
    INTERVAL,
    OVERHEAD,
    REQUESTS,
    TOKENS,
    UNPRICED,
    Family,
)
from ai_gateway.observability.metrics import Distribution
from ai_gateway.observability.samples import Samples

_CLASSES = tuple(name for name in Tokens._fields if name != "searches")
_OTHER = "other"
_MAX_MODELS = 500
_OTHERS_S = 1.0  # seconds until an unknown model is looked up again
_MAX_ID_LENGTH = 100  # OpenMetrics: the labels of an exemplar have at most 128 characters
_PICO = 10**12
# Requests of a row that are counted as one batch; each takes half a kilobyte until then.
_TOGETHER = 64

type Known = Callable[[str, str], bool]
type _Same = tuple[str, str, str, str, int | None, bool, bool | None]

type _Measured = tuple[str | None, float, float, float, float, float | None, int, Tokens | None]
"""A request with an upstream call: id, end, duration, time to the first byte, the gateway's own part of that, mean time
between events, size of the body, and tokens."""


class _Row:
    """The measurements of all requests with the same labels.

    `waiting` are counted in batches: one by one, they would take twice as long.
    """

    __slots__ = (
        *("body", "cost", "duration", "first_byte", "interval", "overhead", "requests", "tokens", "unpriced"),
        "waiting",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.duration = Distribution(DURATION.buckets)
        self.first_byte = Distribution(FIRST_BYTE.buckets)
        self.overhead = Distribution(OVERHEAD.buckets)
        self.interval = Distribution(INTERVAL.buckets)
        self.body = Distribution(BODY.buckets)
        self.tokens = Tokens()
        self.cost = 0
        self.unpriced = 0
        self.waiting: list[_Measured] = []

    def count(self) -> None:
        """Count the waiting requests."""
        if not self.waiting:
            return
        names, ended, durations, first_bytes, overheads, intervals, sizes, tokens = zip(*self.waiting, strict=True)
        epoch = _epoch()
        at = [epoch + each for each in ended]
        self.requests += len(names)
        self.duration.add_all(durations, names, at)
        self.first_byte.add_all(first_bytes, names, at)
        self.overhead.add_all(overheads)
        self.interval.add_all([each for each in intervals if each is not None])
        self.body.add_all(list(filter(None, sizes)))
        if known := list(filter(None, tokens)):
            self.tokens = self.tokens.plus(quickly(Tokens, map(sum, zip(*known, strict=True))))
        self.waiting.clear()


def _epoch() -> float:
    """The zero of `time.perf_counter`, in seconds since the epoch."""
    return time.time() - time.perf_counter()


class RequestMetrics(Observer):
    """Counts every request once, at its end.

    `known` says whether a provider has a model, configured or listed. All others have the label `other`, since callers
    could create any number of series.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._models: set[tuple[str, str]] = set()
        self._others: set[tuple[str, str]] = set()
        self._others_until = 0.0
        self._rows: dict[tuple[str, str, str, str, int, str, str, bool], _Row] = {}
        # The same rows for requests without an error, by the outcome's own values.
        self._usual: dict[_Same, _Row] = {}
        self._usual_others: dict[_Same, _Row] = {}

    @override
    def ended(self, outcome: Outcome) -> None:
        call, first_byte = outcome.call, outcome.first_byte
        notes = outcome.notes
        if outcome.code is None:
            same = (
                outcome.operation,
                outcome.wire,
                notes.provider,
                notes.model,
                outcome.status,
                outcome.left,
                outcome.streamed,
            )
            row = self._usual.get(same) or self._usual_row(same, outcome, notes)
        else:
            row = self._row(outcome, notes)
        name = outcome.request_id if len(outcome.request_id) <= _MAX_ID_LENGTH else None
        ended, started = outcome.ended, outcome.started
        if call is None or first_byte is None or not notes.model:
            row.requests += 1
            at = _epoch() + ended
            row.duration.add(ended - started, name, at)
            if call is not None and first_byte is not None:
                row.first_byte.add(first_byte - started, name, at)
                if call.size:
                    row.body.add(call.size)
            return
        until_first = first_byte - started
        own = until_first - (outcome.upstream_s or 0.0)
        chunks, waiting = notes.chunks, row.waiting
        waiting.append(
            (
                name,
                ended,
                ended - started,
                until_first,
                own if own > 0 else 0.0,
                (ended - first_byte) / (chunks - 1) if chunks > 1 else None,
                call.size,
                notes.tokens,
            )
        )
        if call.rounds or call.reservation is not None:
            _add_call(row, call)
        if len(waiting) >= _TOGETHER:
            row.count()

    def _usual_row(self, same: _Same, outcome: Outcome, notes: Notes) -> _Row:
        """The row of the first request of its kind without an error, or of one with a model that is nobody's."""
        row = self._usual_others.get(same) if outcome.ended < self._others_until else None
        if row is None:
            row = self._row(outcome, notes)
            if outcome.streamed is not None and (notes.provider, notes.model) in self._models:
                self._usual[same] = row
            elif outcome.streamed is not None and (notes.provider, notes.model) in self._others:
                self._usual_others[same] = row
        return row

    def _row(self, outcome: Outcome, notes: Notes) -> _Row:
        provider = notes.provider
        key = (
            outcome.operation,
            outcome.wire,
            provider,
            notes.model
            if (provider, notes.model) in self._models
            else self._label(provider, notes.model, outcome.ended),
            (outcome.status or 0) // 100,
            counted_code(outcome.code) if outcome.code else "",
            outcome.end,
            outcome.stream,
        )
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row()
        return row

    def _label(self, provider: str, model: str, now: float) -> str:
        if not model:
            return ""
        named = provider, model
        if now >= self._others_until or len(self._others) >= _MAX_MODELS:
            self._others.clear()
            self._usual_others.clear()
            self._others_until = now + _OTHERS_S
        if named in self._others:
            return _OTHER
        if len(self._models) < _MAX_MODELS and self._known(provider, model):
            self._models.add(named)
            return model
        self._others.add(named)
        return _OTHER

    def collect(self, samples: Samples) -> None:
        """Add all counts."""
        for (operation, wire, provider, model, status, code, end, stream), row in self._rows.items():
            row.count()
            operation = operation or _OTHER  # noqa: PLW2901 - what the path of no operation is called
            kind = f"{status}xx" if status else "none"
            samples.add(REQUESTS, row.requests, (operation, wire or _OTHER, provider, model, kind, code, end))
            streamed = "true" if stream else "false"
            distributions: tuple[tuple[Family, Distribution, tuple[str, ...]], ...] = (
                (DURATION, row.duration, (operation, provider, streamed)),
                (FIRST_BYTE, row.first_byte, (operation, provider, streamed)),
                (OVERHEAD, row.overhead, (operation, streamed)),
                (INTERVAL, row.interval, (provider,)),
                (BODY, row.body, (operation,)),
            )
            for family, distribution, labels in distributions:
                if any(distribution.counts):
                    samples.merge(family, distribution, labels)
            for name in _CLASSES:
                if tokens := getattr(row.tokens, name):
                    samples.add(TOKENS, tokens, (provider, model, name))
            if row.cost:
                samples.add(COST, row.cost / _PICO, (provider, model))
            if row.unpriced:
                samples.add(UNPRICED, row.unpriced, (provider, model))


def _add_call(row: _Row, call: Call) -> None:
    """Add the earlier rounds, and the cost of all."""
    for before in call.rounds:
        if (tokens := before.notes.tokens) is not None:
            row.tokens = row.tokens.plus(tokens)
    if call.reservation is not None:
        cost = call.reservation.cost()
        if cost is not None:
            row.cost += cost
        else:
            row.unpriced += 1
