"""Chat completions without streaming."""

from functools import partial
from typing import Final

from ai_gateway.probe.check import Check
from ai_gateway.probe.checks.model_list import is_time
from ai_gateway.probe.judge import answer_text, exact, expect, success_json, supported_json
from ai_gateway.probe.probe import QUESTION, Probe, user
from ai_gateway.probe.reply import ABSENT, Reply, count, dig, items, string
from gateway_contract.openai import models

_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
_NEVER_NULL = ("system_fingerprint", "usage")
_NEVER_NULL_IN_MESSAGE = ("tool_calls", "function_call", "annotations")
_SAMPLING = {
    "temperature": 0,
    "top_p": 1,
    "seed": 7,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "user": "probe",
}


async def _exact_reply(probe: Probe, *optional: str, **fields: object) -> object:
    """An exact response to a request with these fields; `optional` ones may be rejected as unsupported."""
    reply = await probe.chat(**fields)
    value = supported_json(reply, *optional) if optional else success_json(reply)
    exact(models.CreateChatCompletionResponse, value, reply)
    return value


_system = partial(_exact_reply, messages=[{"role": "system", "content": "Be brief."}, user(QUESTION)])
_developer = partial(_exact_reply, messages=[{"role": "developer", "content": "Be brief."}, user(QUESTION)])
_parts = partial(_exact_reply, messages=[user([{"type": "text", "text": QUESTION}])])


async def _text(probe: Probe) -> None:
    reply = await probe.chat()
    value = success_json(reply)
    expect(dig(value, "choices", 0, "message", "role") == "assistant", "a message of the assistant", reply)
    expect(bool(answer_text(value)), "text in the message", reply)


async def _one(probe: Probe) -> None:
    reply = await probe.chat()
    choices = items(success_json(reply), "choices")
    expect(len(choices) == 1 and dig(choices[0], "index") == 0, "one choice with index 0", reply)


async def _stopped(probe: Probe) -> None:
    reply = await probe.chat()
    expect(dig(success_json(reply), "choices", 0, "finish_reason") == "stop", "finish_reason 'stop'", reply)


async def _fresh(probe: Probe) -> None:
    first, second = await probe.chat(), await probe.chat(messages=[user("Name a colour.")])
    ids = [string(success_json(reply), "id") for reply in (first, second)]
    expect(all(ids) and ids[0] != ids[1], "an id of its own for each reply", " and ".join(map(repr, ids)))


async def _created(probe: Probe) -> None:
    reply = await probe.chat()
    expect(is_time(count(success_json(reply), "created")), "created in seconds since 1970", reply)


async def _model(probe: Probe) -> None:
    reply = await probe.chat()
    requested = probe.model.rpartition("/")[2]
    expect(
        requested in string(success_json(reply), "model"),
        f"the requested model ({requested}), or a version of it",
        reply,
    )


def adds_up(value: object, seen: object) -> None:
    """Check the usage of a response or of a chunk: positive counts that add up to the total."""
    prompt, answer, total = (
        count(value, "usage", name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    expect(prompt > 0 and answer > 0 and total == prompt + answer, "usage whose counts add up to its total", seen)


async def _usage(probe: Probe) -> None:
    reply = await probe.chat()
    adds_up(success_json(reply), reply)


async def _logprobs_null(probe: Probe) -> None:
    reply = await probe.chat()
    expect(dig(success_json(reply), "choices", 0, "logprobs") is None, "logprobs: null when not requested", reply)


async def _refusal_key(probe: Probe) -> None:
    reply = await probe.chat()
    refusal = dig(success_json(reply), "choices", 0, "message", "refusal")
    expect(refusal is None, "refusal: null when nothing was refused", reply)


async def _no_nulls(probe: Probe) -> None:
    reply = await probe.chat()
    value = success_json(reply)
    message = dig(value, "choices", 0, "message")
    nulls = [name for name in _NEVER_NULL if dig(value, name) is None]
    nulls += [name for name in _NEVER_NULL_IN_MESSAGE if dig(message, name) is None]
    expect(not nulls, f"no null in {', '.join(nulls)}: left out instead", reply)


async def _history(probe: Probe) -> None:
    history = [user("I am Ada."), {"role": "assistant", "content": "Hello, Ada."}, user("What is my name?")]
    await _exact_reply(probe, messages=history)


async def _unicode(probe: Probe) -> None:
    value = await _exact_reply(probe, messages=[user("Say: Grüße, 世界 🙂\u2028 and nothing else.")])
    expect("\ufffd" not in answer_text(value), "no broken characters", answer_text(value))


async def _nulls(probe: Probe) -> None:
    nothing = dict.fromkeys(("temperature", "top_p", "n", "stop", "logit_bias", "seed", "logprobs"))
    await _exact_reply(probe, stream=False, **nothing)


async def _sampling(probe: Probe) -> None:
    await _exact_reply(probe, *_SAMPLING, **_SAMPLING)


async def _image(probe: Probe) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": _PIXEL}}]
    await _exact_reply(probe, "messages", messages=[user(parts)])


async def _capped(probe: Probe, field: str) -> None:
    reply = await probe.chat(messages=[user("Count from one to one hundred in words.")], **{field: 3})
    value = supported_json(reply, field)
    expect(dig(value, "choices", 0, "finish_reason") == "length", "finish_reason 'length'", reply)
    expect(count(value, "usage", "completion_tokens") in {1, 2, 3}, "1 to 3 completion_tokens", reply)


_max_tokens = partial(_capped, field="max_tokens")
_max_completion_tokens = partial(_capped, field="max_completion_tokens")


async def _stop(probe: Probe) -> None:
    reply = await probe.chat(messages=[user("Repeat exactly: apple banana cherry")], stop=["banana"])
    value = supported_json(reply, "stop")
    expect("banana" not in answer_text(value), "a text that ends before the stop sequence", reply)
    expect(dig(value, "choices", 0, "finish_reason") == "stop", "finish_reason 'stop'", reply)


async def _n(probe: Probe) -> None:
    reply = await probe.chat(n=2)
    numbered(supported_json(reply, "n"), reply)


def numbered(value: object, reply: Reply) -> None:
    """Check that there are two choices, 0 and 1."""
    indexes = [dig(choice, "index") for choice in items(value, "choices")]
    expect(indexes == [0, 1], "two choices with index 0 and 1", reply)


async def _logprobs(probe: Probe) -> None:
    reply = await probe.chat(logprobs=True, top_logprobs=2)
    value = supported_json(reply, "logprobs", "top_logprobs")
    exact(models.CreateChatCompletionResponse, value, reply)
    tokens = items(value, "choices", 0, "logprobs", "content")
    expect(bool(tokens), "logprobs of the tokens", reply)
    expect(all(len(items(token, "top_logprobs")) <= 2 for token in tokens), "at most 2 top_logprobs", reply)
    expect(dig(tokens[0], "token") is not ABSENT, "tokens", reply)


_REPLY = "CreateChatCompletionResponse"
CHECKS: Final = (
    Check("chat-reply", "chat", "A plain response is exact", _REPLY, _exact_reply),
    Check("chat-text", "chat", "The assistant answers with text", "plain-answer", _text),
    Check("chat-one-choice", "chat", "There is one choice, with index 0", "plain-answer", _one),
    Check("chat-finish", "chat", "A complete answer ends with stop", "finish-once", _stopped),
    Check("chat-id", "chat", "Every response has an id of its own", "plain-answer", _fresh),
    Check("chat-created", "chat", "The response has a creation time", "seconds", _created),
    Check("chat-model", "chat", "The response names the model", "plain-answer", _model),
    Check("chat-usage", "chat", "The usage adds up", "usage-adds-up", _usage),
    Check("chat-logprobs-null", "chat", "logprobs is null unless requested", _REPLY, _logprobs_null),
    Check("chat-refusal-null", "chat", "refusal is null without a refusal", _REPLY, _refusal_key),
    Check("chat-no-nulls", "chat", "Fields that may only be absent are not null", "absent-not-null", _no_nulls),
    Check("chat-system", "chat", "A system message is accepted", _REPLY, _system),
    Check("chat-developer", "chat", "A developer message is accepted", _REPLY, _developer),
    Check("chat-parts", "chat", "Content in parts is accepted", _REPLY, _parts),
    Check("chat-history", "chat", "A conversation of several turns is accepted", _REPLY, _history),
    Check("chat-unicode", "chat", "Text beyond ASCII is preserved", _REPLY, _unicode),
    Check("chat-explicit-nulls", "chat", "Null options count as absent", "sdk-requests", _nulls),
    Check("chat-sampling", "chat", "Sampling options are accepted", _REPLY, _sampling),
    Check("chat-image", "chat", "An image is accepted", _REPLY, _image),
    Check("chat-max-tokens", "chat", "max_tokens limits the answer", "clean-bounds", _max_tokens),
    Check("chat-max-completion", "chat", "max_completion_tokens limits it too", "clean-bounds", _max_completion_tokens),
    Check("chat-stop", "chat", "A stop sequence ends the answer", "stops-before", _stop),
    Check("chat-n", "chat", "n gives that many choices", "as-many-as-asked", _n),
    Check("chat-logprobs", "chat", "logprobs are returned if requested", _REPLY, _logprobs),
)
