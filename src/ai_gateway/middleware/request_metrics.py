"""What becomes of requests, added up by what they were for and who answered."""

import time
from collections.abc import Callable
from typing import override

from ai_gateway.contract.call import Call, Notes, Tokens
from ai_gateway.contract.outcome import Observer, Outcome
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
_MOST_MODELS = 500
_OTHERS_S = 1.0  # what was no model of a provider may be one after so long
_LONGEST_ID = 100  # OpenMetrics: the labels of an exemplar are 128 characters at the most
_PICO = 10**12

type Known = Callable[[str, str], bool]


class _Row:
    """All requests that are alike. What is measured of them is here, what it is called in `families`."""

    __slots__ = ("body", "cost", "duration", "first_byte", "interval", "overhead", "requests", "tokens", "unpriced")

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


class RequestMetrics(Observer):
    """Counts every request once, when it is over.

    `known` says whether a provider has a model, by what is configured or listed: all others are told as `other`, or
    callers could make as many series as they like.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._models: set[tuple[str, str]] = set()
        self._others: set[tuple[str, str]] = set()
        self._others_until = 0.0
        self._rows: dict[tuple[str, str, str, str, int, str, str, bool], _Row] = {}

    @override
    def ended(self, outcome: Outcome) -> None:
        call, notes = outcome.call, outcome.notes
        provider, status = notes.provider, outcome.status or 0
        key = (
            outcome.operation,
            outcome.wire,
            provider,
            notes.model
            if (provider, notes.model) in self._models
            else self._label(provider, notes.model, outcome.ended),
            status // 100,
            counted_code(outcome.code) if outcome.code else "",
            outcome.end,
            outcome.stream,
        )
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row()
        row.requests += 1
        request_id = outcome.request_id if len(outcome.request_id) <= _LONGEST_ID else None
        now = time.time()
        began = outcome.started
        row.duration.add(outcome.ended - began, request_id, now)
        if outcome.first_byte is None or call is None:
            return
        first_byte = outcome.first_byte - began
        row.first_byte.add(first_byte, request_id, now)
        if notes.model:
            self._add_call(row, call, notes, outcome, first_byte)
        if call.size:
            row.body.add(call.size)

    def _add_call(self, row: _Row, call: Call, notes: Notes, outcome: Outcome, first_byte: float) -> None:
        """What is known of a request that a provider was called for."""
        overhead = first_byte - (outcome.upstream_s or 0.0)
        row.overhead.add(overhead if overhead > 0 else 0.0)
        if notes.chunks > 1 and outcome.first_byte is not None:
            row.interval.add((outcome.ended - outcome.first_byte) / (notes.chunks - 1))
        if notes.tokens is not None:
            row.tokens = row.tokens.plus(notes.tokens)
        for before in call.rounds:
            if (tokens := before.notes.tokens) is not None:
                row.tokens = row.tokens.plus(tokens)
        if call.reservation is not None:
            cost = call.reservation.cost()
            if cost is not None:
                row.cost += cost
            else:
                row.unpriced += 1

    def _label(self, provider: str, model: str, now: float) -> str:
        if not model:
            return ""
        named = provider, model
        if now >= self._others_until or len(self._others) >= _MOST_MODELS:
            self._others.clear()
            self._others_until = now + _OTHERS_S
        if named in self._others:
            return _OTHER
        if len(self._models) < _MOST_MODELS and self._known(provider, model):
            self._models.add(named)
            return model
        self._others.add(named)
        return _OTHER

    def collect(self, samples: Samples) -> None:
        """Add everything so far."""
        for (operation, wire, provider, model, status, code, end, stream), row in self._rows.items():
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
