"""Legacy completions, with and without streaming."""

from typing import Final

from ai_gateway.probe.check import Check
from ai_gateway.probe.checks.chat import adds_up, numbered
from ai_gateway.probe.checks.stream import finished_once, one_done
from ai_gateway.probe.judge import exact, expect, supported
from ai_gateway.probe.probe import Probe
from ai_gateway.probe.reply import Events, Reply, count, dig, is_set, items, string
from gateway_contract.openai import models


async def _complete(probe: Probe, *optional: str, **fields: object) -> Reply:
    return supported(await probe.complete(**{"max_tokens": 8, **fields}), "model", *optional, endpoint=True)


async def _streamed(probe: Probe, **fields: object) -> Events:
    return (await _complete(probe, stream=True, **fields)).events()


async def _exact(probe: Probe) -> None:
    reply = await _complete(probe)
    exact(models.CreateCompletionResponse, reply.value(), reply)


async def _text(probe: Probe) -> None:
    reply = await _complete(probe)
    expect(bool(string(reply.value(), "choices", 0, "text")), "text", reply)


async def _usage(probe: Probe) -> None:
    reply = await _complete(probe)
    adds_up(reply.value(), reply)


async def _length(probe: Probe) -> None:
    reply = await _complete(probe, max_tokens=2)
    expect(dig(reply.value(), "choices", 0, "finish_reason") == "length", "finish_reason 'length'", reply)
    expect(count(reply.value(), "usage", "completion_tokens") in {1, 2}, "1 or 2 completion_tokens", reply)


async def _prompts(probe: Probe) -> None:
    reply = await _complete(probe, "prompt", prompt=["One fine day", "In winter"])
    numbered(reply.value(), reply)


async def _logprobs(probe: Probe) -> None:
    reply = await _complete(probe, "logprobs", logprobs=1)
    exact(models.CreateCompletionResponse, reply.value(), reply)
    expect(bool(items(reply.value(), "choices", 0, "logprobs", "tokens")), "logprobs of the tokens", reply)


async def _nulls(probe: Probe) -> None:
    reply = await _complete(probe, **dict.fromkeys(("logprobs", "seed", "stop", "suffix", "temperature")))
    exact(models.CreateCompletionResponse, reply.value(), reply)


async def _chunks(probe: Probe) -> None:
    for chunk in (await _streamed(probe)).chunks():
        exact(models.CreateCompletionStreamResponse, chunk, chunk)


async def _done(probe: Probe) -> None:
    one_done(await _streamed(probe))


async def _finish(probe: Probe) -> None:
    stream = await _streamed(probe, max_tokens=2)
    finished_once(stream, "length")


async def _usage_unrequested(probe: Probe) -> None:
    for chunk in (await _streamed(probe)).chunks():
        expect(not is_set(chunk, "usage"), "no usage, since it was not requested", chunk)


_GROUP = "completions"
CHECKS: Final = (
    Check("completions-reply", _GROUP, "A response is exact", "CreateCompletionResponse", _exact),
    Check("completions-text", _GROUP, "The response has text", "plain-answer", _text),
    Check("completions-usage", _GROUP, "The usage adds up", "usage-adds-up", _usage),
    Check("completions-length", _GROUP, "max_tokens limits the text", "clean-bounds", _length),
    Check("completions-prompts", _GROUP, "Two prompts get two choices", "as-many-as-asked", _prompts),
    Check("completions-logprobs", _GROUP, "logprobs are returned if requested", "CreateCompletionResponse", _logprobs),
    Check("completions-nulls", _GROUP, "Null options count as absent", "sdk-requests", _nulls),
    Check("completions-chunks", _GROUP, "Every chunk is exact", "CreateCompletionStreamResponse", _chunks),
    Check("completions-done", _GROUP, "The stream ends with [DONE]", "one-done", _done),
    Check("completions-finish", _GROUP, "There is one finish reason, at the end", "finish-once", _finish),
    Check("completions-usage-unasked", _GROUP, "No usage unless requested", "usage-if-asked", _usage_unrequested),
)
