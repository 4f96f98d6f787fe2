"""The log of request and reply bodies: off unless LOG_BODIES enables it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, override

from ai_gateway.contract.captured import Kept
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.observability.body_file import Body, BodyFile

type Which = Literal["off", "errors", "all"]
_LAST_S = 2.0
_MAX_LENGTH = 256
_LOGGED = frozenset({"POST", ""})  # background work has no method


class BodyLog(Observer):
    """Logs the bodies of callers whose project's data retention `permits` it.

    Bodies of unauthorised requests are not logged, and not those of administrators, whose replies contain keys.
    """

    def __init__(self, file: BodyFile, permits: Callable[[str], bool]) -> None:
        self.which: Which = "off"
        self._file = file
        self._permits = permits

    @override
    def ended(self, outcome: Outcome) -> None:
        captured = outcome.captured
        caller = outcome.call.caller if outcome.call is not None else outcome.caller
        if captured is None or caller is None or caller.administers or outcome.method not in _LOGGED:
            return
        failed = outcome.code is not None or (outcome.status or 0) >= 400
        if self.which == "off" or (self.which == "errors" and not failed) or not self._permits(caller.project_id):
            return
        model = outcome.call.parsed.get("model") if outcome.call is not None and outcome.call.parsed else None
        record: dict[str, object] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="microseconds"),
            "event": "bodies",
            "request_id": outcome.request_id,
            "trace_id": outcome.trace_id,
            "path": outcome.path or None,
            "operation": outcome.operation,
            "wire": outcome.wire,
            "project": caller.project_id,
            "key_id": caller.key_id,
            "model": model[:_MAX_LENGTH] if isinstance(model, str) else None,
            "provider": outcome.notes.provider or None,
            "status_code": outcome.status,
            "code": outcome.code,
            "end": outcome.end,
        }
        self._file.add(record, _body(captured.request), _body(captured.reply))

    def close(self) -> None:
        """Write pending records, within a short time limit."""
        self._file.close(_LAST_S)


def _body(kept: Kept) -> Body:
    return Body(kept.content(), kept.media, kept.size, is_cut=kept.is_cut)
