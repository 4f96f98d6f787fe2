"""The access log: one record for each request, after its last byte.

Most of a record is the same for many requests: those fields are serialised once and cached, and only ids, times and
counts are inserted for each request.
"""

import logging
from typing import override

from ai_gateway.contract.call import Call, Notes
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.observability.logging import fragment, timestamp, write_line
from ai_gateway.redaction import MARK, on_remember

_MAX_LENGTH = 256
_PICO = 10**12
_PER_MS = 100_000  # hundredths of a millisecond in a second
# The two digits after whole milliseconds: formatting a float takes twice as long.
_HUNDREDTHS = tuple(repr(number / 100)[1:] for number in range(100))
# Health checks and scrapes, which are frequent and only logged at level debug unless they fail.
_PROBES = frozenset(
    {
        *("getLiveness", "headLiveness", "getReadiness", "headReadiness", "getHealth", "headHealth"),
        *("getServiceInfo", "headServiceInfo", "getMetrics"),
    }
)
# Fields whose values come from callers or upstreams, and may contain a key.
_FOREIGN = frozenset({"path", "code", "model", "upstream_model", "dropped"})
_MAX_KEPT, _MAX_KEPT_LENGTH = 1024, 1024
_logger = logging.getLogger("ai_gateway.access")

type _RequestValues = tuple[str, str, str, str, int | None, str]
type _CallValues = tuple[str | None, str, bool, str | None, bool, str, str | None, int]

# Cached parts of records by their values, some of which callers choose.
_cache: dict[_RequestValues | _CallValues, str] = {}
on_remember(_cache.clear)


class AccessLog(Observer):
    """Logs request, caller, upstream, outcome and timing of each request; never bodies or headers.

    Fields without a value are left out.
    """

    @override
    def ended(self, outcome: Outcome) -> None:
        probe = outcome.operation in _PROBES and outcome.code is None
        if not _logger.isEnabledFor(logging.DEBUG if probe else logging.INFO):
            return
        started, first_byte, call = outcome.started, outcome.first_byte, outcome.call
        request = outcome.method, outcome.path, outcome.operation, outcome.client, outcome.status, outcome.end
        request_part = _cache.get(request)
        duration, extra = int((outcome.ended - started) * _PER_MS), ""
        if first_byte is not None:
            first = int((first_byte - started) * _PER_MS)
            extra = f',"first_byte_ms":{first // 100}{_HUNDREDTHS[first % 100]}'
        if outcome.code is not None:
            extra += _part({"code": outcome.code})
        if outcome.trace_id is not None:
            extra += f',"trace_id":"{outcome.trace_id}"'
        # Ids need no escapes: they are checked, or generated here.
        write_line(
            f'{{"timestamp":"{timestamp()}","level":"{"debug" if probe else "info"}","event":"request"'
            f',"request_id":"{outcome.request_id}"{_request_part(request) if request_part is None else request_part}'
            f',"duration_ms":{duration // 100}{_HUNDREDTHS[duration % 100]}{extra}'
            f"{'' if call is None else _call(call, outcome)}}}\n"
        )


def _part(fields: dict[str, object]) -> str:
    return f",{fragment(fields, _FOREIGN)}" if fields else ""


def _cached(values: _RequestValues | _CallValues, fields: dict[str, object]) -> str:
    part = _part(fields)
    if len(part) <= _MAX_KEPT_LENGTH and MARK not in part:  # a part with a redacted key is not cached
        if len(_cache) >= _MAX_KEPT:
            _cache.clear()
        _cache[values] = part
    return part


def _request_part(values: _RequestValues) -> str:
    """The fields of the request and its outcome."""
    method, path, operation, client, status, end = values
    fields = {"method": method or None, "path": path or None, "operation": operation or None, "client": client or None}
    return _cached(values, {**fields, "status_code": status, "end": end})


def _call(call: Call, outcome: Outcome) -> str:
    """The fields of an authorised call."""
    caller, parsed, notes = call.caller, call.parsed, outcome.notes
    model = parsed.get("model") if parsed is not None else None
    if model is not None:
        model = model[:_MAX_LENGTH] if isinstance(model, str) else None
    upstream_model = notes.upstream_model
    values = (
        caller.key_id,
        caller.project_id,
        parsed is not None,
        model,
        outcome.stream,
        notes.provider,
        # Also chosen by the caller, if the request names a provider explicitly.
        upstream_model[:_MAX_LENGTH] if upstream_model is not None else None,
        notes.attempts,
    )
    call_part = _cache.get(values)
    if call_part is None:
        call_part = _call_part(values)
    if not notes.provider:
        return call_part
    counts = usage = spent = cost = ""
    tokens, upstream_s = notes.tokens, outcome.upstream_s
    if tokens is not None:
        input_, output, cached, written_5m, written_1h, audio_in, image_in, reasoning, audio_out, image_out, _ = tokens
        counts = (
            f',"tokens_in":{input_ + cached + written_5m + written_1h + audio_in + image_in}'
            f',"tokens_out":{output + reasoning + audio_out + image_out}'
        )
    if notes.repairs or notes.dropped or call.rounds or (tokens is not None and tokens.cache_read):
        counts, usage = _usage_part(call, notes, counts)
    if upstream_s is not None:
        hundredths = int(upstream_s * _PER_MS)
        spent = f',"upstream_ms":{hundredths // 100}{_HUNDREDTHS[hundredths % 100]}'
    if call.reservation is not None and (pico := call.reservation.cost()) is not None:
        cost = f',"cost_usd":{pico / _PICO!r}'
    return f"{call_part}{counts}{usage}{spent}{cost}"


def _call_part(values: _CallValues) -> str:
    """The fields of caller, model and upstream."""
    key_id, project, is_read, model, stream, provider, upstream_model, attempts = values
    fields: dict[str, object] = {}
    if key_id is not None:
        fields |= {"key_id": key_id, "project": project}
    if is_read:
        fields |= {"model": model, "stream": stream}
    if provider:
        fields["provider"] = provider
        if upstream_model is not None:
            fields["upstream_model"] = upstream_model
        if attempts:
            fields["attempts"] = attempts
    return _cached(values, fields)


def _usage_part(call: Call, notes: Notes, counts: str) -> tuple[str, str]:
    """Token counts, summed over all rounds if there are several, and fields that few replies have."""
    fields: dict[str, object] = {}
    if notes.tokens is not None and notes.tokens.cache_read:
        fields["tokens_cached"] = notes.tokens.cache_read
    if notes.repairs:
        fields["repairs"] = sorted(notes.repairs)
    if notes.dropped:
        fields["dropped"] = sorted(notes.dropped)
    if call.rounds:
        tokens = [each.tokens for each in call.attempts if each.tokens is not None]
        input_, output = sum(each.whole_input for each in tokens), sum(each.whole_output for each in tokens)
        counts = f',"tokens_in":{input_},"tokens_out":{output}'
        fields["rounds"] = len(call.rounds) + 1
    return counts, _part(fields)
