"""Chat completions with streaming."""

from typing import Final

from ai_gateway.probe.check import Check
from ai_gateway.probe.checks.chat import adds_up
from ai_gateway.probe.judge import exact, expect, rejected, supported
from ai_gateway.probe.probe import CHAT, NO_SUCH_MODEL, Probe, user
from ai_gateway.probe.reply import ABSENT, Events, dig, is_set, items, string
from gateway_contract.openai import models

_USAGE = {"include_usage": True}


async def _media(probe: Probe) -> None:
    stream = await probe.stream()
    expect(stream.reply.media_type == "text/event-stream", "text/event-stream", stream.reply)


async def _frames(probe: Probe) -> None:
    stream = await probe.stream()
    stream.chunks()
    ends = (b"\n\n", b"\r\n\r\n", b"\r\r")
    expect(stream.reply.body.endswith(ends), "an empty line after the last event", stream.reply.body[-80:].decode())


async def _chunks(probe: Probe) -> None:
    exact_chunks(await probe.stream())


def exact_chunks(stream: Events) -> None:
    """Check that every event except `[DONE]` is an exact chunk."""
    for chunk in stream.chunks():
        exact(models.CreateChatCompletionStreamResponse, chunk, chunk)


async def _usage_chunks(probe: Probe) -> None:
    exact_chunks(await probe.stream(stream_options=_USAGE))


async def _done(probe: Probe) -> None:
    one_done(await probe.stream())


async def _done_after_usage(probe: Probe) -> None:
    one_done(await probe.stream(stream_options=_USAGE))


def one_done(stream: Events) -> None:
    """Check that there is one terminator, at the end."""
    expect(stream.terminators == [len(stream.data) - 1], "exactly one [DONE], as the last event", tail(stream))


def tail(stream: Events) -> str:
    """The last events of a stream, to show."""
    return "the last events: " + " | ".join(data.decode(errors="replace") for data in stream.data[-3:])


async def _text(probe: Probe) -> None:
    stream = await probe.stream()
    expect(bool(stream.text()), "deltas that make a text", stream.reply)


async def _role(probe: Probe) -> None:
    stream = await probe.stream()
    choices = stream.choices()
    expect(bool(choices) and dig(choices[0], "delta", "role") == "assistant", "role in the first delta", stream.reply)


async def _finish(probe: Probe) -> None:
    finished_once(await probe.stream())


def finished_once(stream: Events, reason: str = "stop", index: int = 0) -> None:
    """Check that the choice has one finish reason, and nothing after it."""
    choices = stream.choices(index)
    reasons = [name for choice in choices if (name := string(choice, "finish_reason"))]
    expect(reasons == [reason], f"exactly one finish_reason, {reason!r}, not {reasons}", tail(stream))
    expect(string(choices[-1], "finish_reason") == reason, "nothing after the finish_reason", tail(stream))


async def _stable(probe: Probe) -> None:
    stream = await probe.stream()
    heads = {tuple(str(dig(chunk, name)) for name in ("id", "created", "model")) for chunk in stream.chunks()}
    expect(len(heads) == 1, "one id, created and model for all chunks", sorted(heads))


async def _no_nulls(probe: Probe) -> None:
    stream = await probe.stream()
    for chunk in stream.chunks():
        expect(dig(chunk, "system_fingerprint") is not None, "no null system_fingerprint: left out instead", chunk)
        for choice in items(chunk, "choices"):
            nulls = [name for name in ("role", "tool_calls", "function_call") if dig(choice, "delta", name) is None]
            expect(not nulls, f"no null in {', '.join(nulls)}: left out instead", chunk)


async def _usage_unrequested(probe: Probe) -> None:
    for chunk in (await probe.stream()).chunks():
        expect(not is_set(chunk, "usage"), "no usage, since it was not requested", chunk)
        expect(bool(items(chunk, "choices")), "no chunk without choices", chunk)


async def _usage_last(probe: Probe) -> None:
    stream = await probe.stream(stream_options=_USAGE)
    chunks = stream.chunks() or [ABSENT]
    *earlier, last = chunks
    expect(isinstance(dig(last, "usage"), dict), "usage in the last chunk", tail(stream))
    expect(dig(last, "choices") == [], "empty choices in the chunk with the usage", tail(stream))
    expect(not any(isinstance(dig(chunk, "usage"), dict) for chunk in earlier), "usage once", tail(stream))


async def _usage_null_before(probe: Probe) -> None:
    stream = await probe.stream(stream_options=_USAGE)
    for chunk in stream.chunks()[:-1]:
        expect(dig(chunk, "usage") is None, "usage: null in every chunk before the last", chunk)


async def _usage_adds_up(probe: Probe) -> None:
    stream = await probe.stream(stream_options=_USAGE)
    counted = [chunk for chunk in stream.chunks() if isinstance(dig(chunk, "usage"), dict)]
    expect(bool(counted), "a chunk with the usage", tail(stream))
    adds_up(counted[-1], tail(stream))


async def _n(probe: Probe) -> None:
    stream = supported(await probe.chat(stream=True, n=2), "n").events()
    for index in (0, 1):
        expect(bool(stream.choices(index)), f"a choice with index {index}", stream.reply)
        finished_once(stream, index=index)


async def _logprobs(probe: Probe) -> None:
    reply = supported(await probe.chat(stream=True, logprobs=True, top_logprobs=2), "logprobs", "top_logprobs")
    stream = reply.events()
    exact_chunks(stream)
    tokens = [token for choice in stream.choices() for token in items(choice, "logprobs", "content")]
    expect(bool(tokens), "logprobs with the deltas", reply)


async def _length(probe: Probe) -> None:
    messages = [user("Count from one to one hundred in words.")]
    finished_once(
        supported(await probe.chat(stream=True, messages=messages, max_tokens=3), "max_tokens").events(), "length"
    )


async def _stop(probe: Probe) -> None:
    messages = [user("Repeat exactly: apple banana cherry")]
    stream = supported(await probe.chat(stream=True, messages=messages, stop=["banana"]), "stop").events()
    expect("banana" not in stream.text(), "a text that ends before the stop sequence", stream.text())


async def _unknown(probe: Probe) -> None:
    rejected(await probe.chat(stream=True, model=NO_SUCH_MODEL), 404)


async def _bad(probe: Probe) -> None:
    rejected(await probe.post(CHAT, {"model": probe.model, "messages": "hello", "stream": True}), 400)


_CHUNK = "CreateChatCompletionStreamResponse"
CHECKS: Final = (
    Check("stream-media-type", "stream", "A stream is an event stream", "sse-frames", _media),
    Check("stream-frames", "stream", "Every event is JSON and complete", "sse-frames", _frames),
    Check("stream-chunks", "stream", "Every chunk is exact", _CHUNK, _chunks),
    Check("stream-usage-chunks", "stream", "Every chunk is exact with include_usage", _CHUNK, _usage_chunks),
    Check("stream-done", "stream", "The stream ends with [DONE]", "one-done", _done),
    Check("stream-usage-done", "stream", "It does so after the usage", "one-done", _done_after_usage),
    Check("stream-text", "stream", "The pieces form a text", "plain-answer", _text),
    Check("stream-role", "stream", "The first piece has the role", "role-first", _role),
    Check("stream-finish", "stream", "There is one finish reason, at the end", "finish-once", _finish),
    Check("stream-stable", "stream", "All chunks have the same id, created and model", "stable-stream", _stable),
    Check("stream-no-nulls", "stream", "Fields that may only be absent are not null", "absent-not-null", _no_nulls),
    Check("stream-usage-unasked", "stream", "No usage unless requested", "usage-if-asked", _usage_unrequested),
    Check("stream-usage-last", "stream", "Usage comes last, with empty choices", "usage-if-asked", _usage_last),
    Check("stream-usage-null", "stream", "Until then usage is null", "usage-if-asked", _usage_null_before),
    Check("stream-usage-adds-up", "stream", "The usage adds up", "usage-adds-up", _usage_adds_up),
    Check("stream-n", "stream", "All n choices are complete", "finish-once", _n),
    Check("stream-logprobs", "stream", "logprobs are returned with the pieces", _CHUNK, _logprobs),
    Check("stream-length", "stream", "A limit ends the stream with length", "clean-bounds", _length),
    Check("stream-stop", "stream", "A stop sequence ends the stream", "stops-before", _stop),
    Check("stream-unknown-model", "stream", "An unknown model keeps its status", "error-keeps-status", _unknown),
    Check("stream-bad-input", "stream", "Bad input keeps its status", "error-keeps-status", _bad),
)
