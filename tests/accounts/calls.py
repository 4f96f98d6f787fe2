"""Calls as they are noted: one that started, and how it ended."""

from ai_gateway.accounts.records import AttemptRecord, Record, Start
from ai_gateway.contract.tokens import Tokens

NOW_MS = 1_790_000_000_000


def started(identifier: str = "call-1", **facts: object) -> Start:
    """A call of a project's key to a model."""
    known: dict[str, object] = {
        "id": identifier,
        "request_id": f"req-{identifier}",
        "at": NOW_MS,
        "project_id": "default",
        "key_id": "key_1",
        "wire": "openai",
        "operation": "createChatCompletion",
        "model": "fast",
        "stream": True,
        "provider": "openai",
        "upstream_model": "gpt-fast",
        "bound": 5_000,
        "bound_input": 100,
        "bound_output": 400,
    }
    return Start(**{**known, **facts})  # type: ignore[arg-type]


def ended(start: Start, **facts: object) -> Record:
    """It is over: whole, and its upstream said what it took."""
    tokens = Tokens(input=60, cache_read=30, output=20, reasoning=5)
    attempt = AttemptRecord(
        provider=start.provider,
        model=start.upstream_model,
        started_at=start.at + 1,
        ended_at=start.at + 900,
        tokens=tokens,
        cost=1_234,
    )
    known: dict[str, object] = {
        "start": start,
        "ended_at": start.at + 1_000,
        "first_byte_ms": 120,
        "end": "whole",
        "basis": "reported",
        "status": 200,
        "code": None,
        "provider": start.provider,
        "upstream_model": start.upstream_model,
        "tokens": tokens,
        "cost": 1_234,
        "price": "table:1",
        "service_tier": None,
        "attempts": (attempt,),
    }
    return Record(**{**known, **facts})  # type: ignore[arg-type]
