"""One log record a request, after its last byte."""

import logging
from typing import override

from ai_gateway.contract.call import Call, Notes
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.observability.logging import timestamp, write_record

_LONGEST = 256
_PICO = 10**12
_PER_MS = 100_000  # hundredths of a millisecond in a second: to cut the rest off takes a fraction of what `round` does
# What is asked every few seconds, and tells nothing as long as it goes well.
_PROBES = frozenset(
    {
        *("getLiveness", "headLiveness", "getReadiness", "headReadiness", "getHealth", "headHealth"),
        *("getServiceInfo", "headServiceInfo", "getMetrics"),
    }
)
# What is not the gateway's own of a record, and may hold a key.
_FOREIGN = ("path", "code", "model", "upstream_model", "dropped")
_logger = logging.getLogger("ai_gateway.access")


class AccessLog(Observer):
    """Writes who asked for what, who answered, how it ended and what it took; bodies and headers never.

    What there is nothing to say of is left out.
    """

    @override
    def ended(self, outcome: Outcome) -> None:
        probe = outcome.operation in _PROBES and outcome.code is None
        if not _logger.isEnabledFor(logging.DEBUG if probe else logging.INFO):
            return
        record: dict[str, object] = {
            "timestamp": timestamp(),
            "level": "debug" if probe else "info",
            "event": "request",
            "request_id": outcome.request_id,
            "method": outcome.method or None,
            "path": outcome.path or None,
            "operation": outcome.operation or None,
            "client": outcome.client or None,
            "status_code": outcome.status,
            "end": outcome.end,
            "duration_ms": int((outcome.ended - outcome.started) * _PER_MS) / 100,
        }
        if outcome.first_byte is not None:
            record["first_byte_ms"] = int((outcome.first_byte - outcome.started) * _PER_MS) / 100
        if outcome.code is not None:
            record["code"] = outcome.code
        if outcome.trace_id is not None:
            record["trace_id"] = outcome.trace_id
        if outcome.call is not None:
            _add_call(record, outcome.call, outcome)
        write_record(record, _FOREIGN)


def _add_call(record: dict[str, object], call: Call, outcome: Outcome) -> None:
    """What is known of a request that was let in."""
    if call.caller.key_id is not None:
        record["key_id"], record["project"] = call.caller.key_id, call.caller.project_id
    if call.parsed is not None:
        model = call.parsed.get("model")
        record["model"] = model[:_LONGEST] if isinstance(model, str) else None
        record["stream"] = outcome.stream
    notes = outcome.notes
    if notes.provider:
        _add_upstream(record, notes)
        if call.rounds:
            _add_rounds(record, call)
        if (upstream_s := outcome.upstream_s) is not None:
            record["upstream_ms"] = int(upstream_s * _PER_MS) / 100
        if call.reservation is not None and (cost := call.reservation.cost()) is not None:
            record["cost_usd"] = cost / _PICO


def _add_upstream(record: dict[str, object], notes: Notes) -> None:
    """Who answered, and what that came to."""
    record["provider"] = notes.provider
    if notes.upstream_model is not None:
        record["upstream_model"] = notes.upstream_model[:_LONGEST]
    if notes.attempts:
        record["attempts"] = notes.attempts
    if (tokens := notes.tokens) is not None:
        record["tokens_in"], record["tokens_out"] = tokens.whole_input, tokens.whole_output
        if tokens.cache_read:
            record["tokens_cached"] = tokens.cache_read
    if notes.repairs:
        record["repairs"] = sorted(notes.repairs)
    if notes.dropped:
        record["dropped"] = sorted(notes.dropped)


def _add_rounds(record: dict[str, object], call: Call) -> None:
    """How often the model was asked, and what all of that took."""
    tokens = [notes.tokens for notes in call.attempts if notes.tokens is not None]
    record["rounds"] = len(call.rounds) + 1
    record["tokens_in"] = sum(each.whole_input for each in tokens)
    record["tokens_out"] = sum(each.whole_output for each in tokens)
