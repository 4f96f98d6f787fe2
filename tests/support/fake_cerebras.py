"""A server with Cerebras' wire: OpenAI's, with errors of its own shape and no patience for what it does not know."""

from collections.abc import Mapping
from typing import override

from tests.support.behaviours import CREATED, RATE_LIMITS, SECRET_MARK, behave as openai_wire
from tests.support.upstream import Exchange

# What its own client can send.
CHAT_FIELDS = {
    "model", "messages", "clear_thinking", "disable_reasoning", "frequency_penalty", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "min_completion_tokens", "min_tokens", "model_parameters", "n",
    "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "reasoning_effort",
    "reasoning_format", "response_format", "seed", "service_tier", "stop", "stream", "stream_options", "temperature",
    "tool_choice", "tools", "top_logprobs", "top_p", "user",
}  # fmt: skip


async def behave(exchange: Exchange) -> None:
    """As the fault upstream, behind the paths and the errors of Cerebras."""
    seen = exchange.seen
    name = seen.model.partition("#")[0]
    if not seen.path.startswith(("/v1/chat/completions", "/v1/completions", "/v1/models")):
        return await _refuse(exchange, 404, f"Route {seen.path} not found")
    unknown = set(seen.json) - CHAT_FIELDS if seen.path == "/v1/chat/completions" and seen.method == "POST" else set()
    if unknown:
        return await _refuse(exchange, 400, f"body: properties {sorted(unknown)} are unsupported")
    if name.startswith("status-"):
        status = int(name.removeprefix("status-"))
        secret = f" {SECRET_MARK} {seen.header('authorization')}" if status in {401, 403} or status >= 500 else ""
        return await _refuse(exchange, status, f"told {status}{secret}")
    return await openai_wire(_Stamped(seen, exchange.writer))


class _Stamped(Exchange):
    """Answers and chunks with what Cerebras puts into every one; its own client cannot do without it."""

    @override
    async def json(self, value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        await super().json(_stamped(value), status=status, headers=headers)

    @override
    async def event(self, value: object) -> None:
        await super().event(_stamped(value))


def _stamped(value: object) -> object:
    if not isinstance(value, dict) or "choices" not in value:
        return value
    return {"system_fingerprint": "fp_wafer", "time_info": {"total_time": 0.01, "created": CREATED}, **value}


async def _refuse(exchange: Exchange, status: int, message: str) -> None:
    kind = {404: "not_found_error", 429: "too_many_requests_error"}.get(status, "invalid_request_error")
    code = {404: "model_not_found", 429: "request_quota_exceeded"}.get(status, "wrong_api_format")
    body = {"message": message, "type": kind, "param": "validation_error", "code": code}
    await exchange.json(body, status=status, headers=RATE_LIMITS if status == 429 else {})
