"""One log record a request, after its last byte."""

import logging
from typing import override

from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.observability.logging import write_record
from ai_gateway.redaction import strike_all

_logger = logging.getLogger("ai_gateway.access")


class AccessLog(Observer):
    """Writes method, path, status, provider and duration; bodies and headers never."""

    @override
    def ended(self, outcome: Outcome) -> None:
        if not _logger.isEnabledFor(logging.INFO):
            return
        record: dict[str, object] = {
            "request_id": outcome.request_id,
            "method": outcome.method,
            "path": strike_all(outcome.path),
            "duration_ms": int((outcome.ended - outcome.started) * 100_000) / 100,  # a fraction of what `round` takes
        }
        if outcome.status is not None:
            record["status_code"] = outcome.status
        if provider := outcome.notes.provider:
            record["provider"] = provider
        write_record("request", record)
