"""One log record a request, after its last byte.

Most of a record is the same for many requests: those fields become JSON once, and only ids, times and counts are put
between them for each request.
"""

import logging
from typing import override

from ai_gateway.contract.call import Call, Notes
from ai_gateway.contract.outcome import End, Observer, Outcome
from ai_gateway.observability.logging import fragment, timestamp, write_line
from ai_gateway.redaction import MARK, on_remember

_MAX_LENGTH = 256
_PICO = 10**12
_PLAIN_FROM = 10**8
_PER_MS = 100_000  # hundredths of a millisecond in a second
# How they are written behind whole milliseconds: to format a float takes twice as long.
_HUNDREDTHS = tuple(repr(number / 100)[1:] for number in range(100))
# Requested every few seconds, and of no interest as long as it succeeds.
_PROBES = frozenset(
    {
        *("getLiveness", "headLiveness", "getReadiness", "headReadiness", "getHealth", "headHealth"),
        *("getServiceInfo", "headServiceInfo", "getMetrics"),
    }
)
# What is not the gateway's own of a record, and may hold a key.
_FOREIGN = frozenset({"path", "code", "model", "upstream_model", "dropped"})
_MAX_KEPT, _MAX_KEPT_LENGTH = 1024, 1024
_logger = logging.getLogger("ai_gateway.access")

type _Request = tuple[str, str, str, str, int | None, bool, bool]
type _Answer = tuple[str | None, str, bool, str | None, bool, str, str | None, int]

# Parts of records by the values in them, of which callers choose some.
_known: dict[_Request | _Answer, str] = {}
on_remember(_known.clear)


class AccessLog(Observer):
    """Writes each request: its caller, provider, end and duration; bodies and headers never.

    What there is nothing to say of is left out.
    """

    @override
    def ended(self, outcome: Outcome) -> None:
        probe = outcome.operation in _PROBES and outcome.code is None
        if not _logger.isEnabledFor(logging.DEBUG if probe else logging.INFO):
            return
        started, first_byte, call, code = outcome.started, outcome.first_byte, outcome.call, outcome.code
        request = (
            outcome.method,
            outcome.path,
            outcome.operation,
            outcome.client,
            outcome.status,
            outcome.left,
            code is None,
        )
        what = _known.get(request) or _request_part(request, outcome.end)
        duration, begun = int((outcome.ended - started) * _PER_MS), ""
        if first_byte is not None:
            first = int((first_byte - started) * _PER_MS)
            begun = f',"first_byte_ms":{first // 100}{_HUNDREDTHS[first % 100]}'
        if code is not None:
            begun += _part({"code": code})
        if outcome.trace_id is not None:
            begun += f',"trace_id":"{outcome.trace_id}"'
        # Ids need no escapes: they are checked, or made here.
        write_line(
            f'{{"timestamp":"{timestamp()}","level":"{"debug" if probe else "info"}","event":"request"'
            f',"request_id":"{outcome.request_id}"{what}'
            f',"duration_ms":{duration // 100}{_HUNDREDTHS[duration % 100]}{begun}'
            f"{'' if call is None else _call(call, outcome)}}}\n"
        )


def _part(fields: dict[str, object]) -> str:
    return f",{fragment(fields, _FOREIGN)}" if fields else ""


def _kept(values: _Request | _Answer, fields: dict[str, object]) -> str:
    part = _part(fields)
    if len(part) <= _MAX_KEPT_LENGTH and MARK not in part:  # a key is not kept for the sake of its mark
        if len(_known) >= _MAX_KEPT:
            _known.clear()
        _known[values] = part
    return part


def _request_part(values: _Request, end: End) -> str:
    """The request, and how it ended."""
    method, path, operation, client, status, _, _ = values
    fields = {"method": method or None, "path": path or None, "operation": operation or None, "client": client or None}
    return _kept(values, {**fields, "status_code": status, "end": end})


def _call(call: Call, outcome: Outcome) -> str:
    """What is known of a request that was let in."""
    caller, parsed, streamed = call.caller, call.parsed, outcome.streamed
    notes = call.attempts[-1] if call.attempts else outcome.notes
    model = parsed.get("model") if parsed is not None else None
    if model is not None:
        model = model[:_MAX_LENGTH] if isinstance(model, str) else None
    upstream_model = notes.upstream_model
    values = (
        caller.key_id,
        caller.project_id,
        parsed is not None,
        model,
        outcome.stream if streamed is None else streamed,
        notes.provider,
        # A caller's words as well, if it names the provider before them.
        upstream_model[:_MAX_LENGTH] if upstream_model is not None else None,
        notes.attempts,
    )
    answer = _known.get(values) or _answer_part(values)
    if not notes.provider:
        return answer
    counts = more = spent = cost = ""
    tokens, upstream_s = notes.tokens, outcome.upstream_s
    if tokens is not None:
        new, text, read, written, longer, heard, seen, thought, spoken, drawn, _ = tokens
        counts = (
            f',"tokens_in":{new + read + written + longer + heard + seen}'
            f',"tokens_out":{text + thought + spoken + drawn}'
        )
    if notes.repairs or notes.dropped or call.rounds or (tokens is not None and tokens.cache_read):
        counts, more = _more(call, notes, counts)
    if upstream_s is not None:
        hundredths = int(upstream_s * _PER_MS)
        spent = f',"upstream_ms":{hundredths // 100}{_HUNDREDTHS[hundredths % 100]}'
    if call.reservation is not None and (pico := call.reservation.cost()) is not None:
        # Python writes a smaller float with an exponent, which not every reader of logs takes for a number.
        cost = f',"cost_usd":{pico / _PICO!r}' if pico >= _PLAIN_FROM or not pico else f',"cost_usd":{_small(pico)}'
    return f"{answer}{counts}{more}{spent}{cost}"


def _small(pico: int) -> str:
    """A cost below a hundredth of a cent, in USD."""
    return f"0.{pico:012}".rstrip("0")


def _answer_part(values: _Answer) -> str:
    """The caller, the model and the provider."""
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
    return _kept(values, fields)


def _more(call: Call, notes: Notes, counts: str) -> tuple[str, str]:
    """The counts of tokens, of all rounds if there are several, and what few answers have beside them."""
    fields: dict[str, object] = {}
    if notes.tokens is not None and notes.tokens.cache_read:
        fields["tokens_cached"] = notes.tokens.cache_read
    if notes.repairs:
        fields["repairs"] = sorted(notes.repairs)
    if notes.dropped:
        fields["dropped"] = sorted(notes.dropped)
    if call.rounds:
        tokens = [each.tokens for each in call.attempts if each.tokens is not None]
        taken, given = sum(each.whole_input for each in tokens), sum(each.whole_output for each in tokens)
        counts = f',"tokens_in":{taken},"tokens_out":{given}'
        fields["rounds"] = len(call.rounds) + 1
    return counts, _part(fields)
