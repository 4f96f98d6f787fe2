"""Mistral's dialect of OpenAI's wire: a field that it does not know is a 422, and streams bring the usage unasked."""

import json
from dataclasses import replace

from tests.support.behaviours import behave
from tests.support.upstream import Exchange

KNOWN = {
    "model", "messages", "prompt", "suffix", "input", "temperature", "top_p", "max_tokens", "stream", "stop", "n",
    "random_seed", "metadata", "response_format", "tools", "tool_choice", "parallel_tool_calls", "presence_penalty",
    "frequency_penalty", "prediction", "prompt_mode", "reasoning_effort", "safe_prompt", "encoding_format",
    "output_dimension", "output_dtype",
}  # fmt: skip


async def mistral_wire(exchange: Exchange) -> None:
    """The behaviour that the request's model names, in this dialect."""
    body = exchange.seen.json
    if unknown := sorted(body.keys() - KNOWN):
        await exchange.json({"object": "error", "message": {"detail": [_extra(name) for name in unknown]}}, status=422)
        return
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    await behave(Exchange(replace(exchange.seen, body=json.dumps(body).encode()), exchange.writer))


def _extra(name: str) -> dict[str, object]:
    return {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
