"""Named checks of the gateway in front of a real server."""

import base64
import json
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import httpx2

from scripts.real_upstreams.server import MODEL

type Check = Callable[[httpx2.Client], None]
CHECKS: dict[str, Check] = {}
MESSAGES: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "the sea and the wind"}]
CHAT: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_completion_tokens": 8}
LEGACY: dict[str, Any] = {"model": MODEL, "prompt": "the sea", "max_tokens": 8}


def run(base_url: str) -> Iterator[tuple[str, str]]:
    """Each check's name with its problem, empty if it passes."""
    with httpx2.Client(base_url=f"{base_url}/", timeout=60, trust_env=False) as client:
        for name, check in CHECKS.items():
            try:
                check(client)
            except Exception as error:  # the next check runs whatever failed
                yield name, f"{type(error).__name__}: {error}"
            else:
                yield name, ""


def _check(function: Check) -> Check:
    """Add a function to the suite, named after it."""
    CHECKS[function.__name__.strip("_").replace("_", " ")] = function
    return function


def _ensure(*, holds: bool, seen: object) -> None:
    if not holds:
        raise AssertionError(f"seen: {str(seen)[:300]}")


def _events(reply: httpx2.Response) -> list[dict[str, Any]]:
    """The chunks of a complete stream."""
    frames = [frame.removeprefix("data: ") for frame in reply.text.split("\n\n") if frame]
    _ensure(holds=reply.status_code == 200 and frames[-1:] == ["[DONE]"], seen=reply.text[-300:])
    return [json.loads(frame) for frame in frames[:-1]]


def _error(reply: httpx2.Response, status: int) -> dict[str, Any]:
    _ensure(holds=reply.status_code == status, seen=f"{reply.status_code} {reply.text}")
    envelope: dict[str, dict[str, Any]] = reply.json()
    _ensure(holds=sorted(envelope["error"]) == ["code", "message", "param", "type"], seen=envelope)
    return envelope["error"]


@_check
def _models_are_listed(client: httpx2.Client) -> None:
    listed = client.get("models").json()
    _ensure(holds=[(model["id"], model["created"]) for model in listed["data"]] == [(MODEL, 0)], seen=listed)


@_check
def _a_missing_path_is_a_404_of_the_gateway(client: httpx2.Client) -> None:
    error = _error(client.get(f"models/{MODEL}"), 404)
    _ensure(holds=error["code"] == "model_not_found", seen=error)


@_check
def _chat_is_answered(client: httpx2.Client) -> None:
    reply = client.post("chat/completions", json=CHAT)
    body = reply.json()
    _ensure(holds=reply.status_code == 200 and body["choices"][0]["message"]["refusal"] is None, seen=body)
    _ensure(holds=body["usage"]["total_tokens"] > 0, seen=body)


@_check
def _max_completion_tokens_is_honoured(client: httpx2.Client) -> None:
    body = client.post("chat/completions", json={**CHAT, "max_completion_tokens": 2}).json()
    _ensure(holds=body["choices"][0]["finish_reason"] == "length", seen=body)
    _ensure(holds=len(body["choices"][0]["message"]["content"]) < 40, seen=body)


@_check
def _chat_is_streamed(client: httpx2.Client) -> None:
    chunks = _events(client.post("chat/completions", json={**CHAT, "stream": True}))
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    reasons = [choice["finish_reason"] for choice in choices]
    _ensure(holds=choices[0]["delta"]["role"] == "assistant" and len(choices) > 3, seen=choices)
    _ensure(holds=reasons[-1] in {"stop", "length"} and set(reasons[:-1]) == {None}, seen=reasons)


@_check
def _missing_usage_is_not_invented(client: httpx2.Client) -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    chunks = _events(client.post("chat/completions", json=body))
    _ensure(holds=not any(chunk.get("usage") for chunk in chunks), seen=chunks[-1])


@_check
def _the_same_seed_gives_the_same_answer(client: httpx2.Client) -> None:
    body = {**CHAT, "seed": 5, "temperature": 0.9}
    texts = {client.post("chat/completions", json=body).json()["choices"][0]["message"]["content"] for _ in range(2)}
    _ensure(holds=len(texts) == 1, seen=texts)


@_check
def _a_legacy_completion_is_answered(client: httpx2.Client) -> None:
    body = client.post("completions", json={**LEGACY, "logprobs": 1}).json()
    _ensure(holds=body["object"] == "text_completion" and body["choices"][0]["logprobs"]["tokens"], seen=body)


@_check
def _a_legacy_completion_is_streamed(client: httpx2.Client) -> None:
    chunks = _events(client.post("completions", json={**LEGACY, "stream": True}))
    _ensure(holds={chunk["object"] for chunk in chunks} == {"text_completion"} and len(chunks) > 2, seen=chunks[:1])


@_check
def _texts_are_embedded_as_floats_and_in_base64(client: httpx2.Client) -> None:
    body = {"model": MODEL, "input": ["the sea", "a wind"]}
    floats = client.post("embeddings", json=body).json()
    coded = client.post("embeddings", json={**body, "encoding_format": "base64"}).json()
    _ensure(holds=[len(item["embedding"]) for item in floats["data"]] == [64, 64], seen=floats)
    raw = base64.b64decode(coded["data"][1]["embedding"])
    vector = struct.unpack(f"<{len(raw) // 4}f", raw)
    close = all(map(lambda a, b: math.isclose(a, b, abs_tol=1e-5), vector, floats["data"][1]["embedding"]))
    _ensure(holds=close and len(vector) == 64, seen=vector[:3])


@_check
def _a_500_is_a_502_without_internals(client: httpx2.Client) -> None:
    # It answers an unknown role with a 500 that contains a path of its traceback.
    reply = client.post("chat/completions", json={**CHAT, "messages": [{"role": "developer", "content": "x"}]})
    error = _error(reply, 502)
    _ensure(holds=error["code"] == "upstream_error" and "site-packages" not in reply.text, seen=error)


@_check
def _an_invalid_request_does_not_reach_it(client: httpx2.Client) -> None:
    error = _error(client.post("chat/completions", json={**CHAT, "messages": "x"}), 400)
    _ensure(holds=error["param"] == "messages", seen=error)


@_check
def _openais_sdk_works(client: httpx2.Client) -> None:
    import openai  # noqa: PLC0415 - tests of this module need it not

    with openai.OpenAI(base_url=str(client.base_url), api_key="any", max_retries=0) as sdk:
        reply = sdk.chat.completions.create(model=MODEL, messages=MESSAGES, max_completion_tokens=8)
        stream = sdk.chat.completions.create(model=MODEL, messages=MESSAGES, max_completion_tokens=8, stream=True)
        reasons = [chunk.choices[0].finish_reason for chunk in stream]
    _ensure(holds=bool(reply.choices) and reasons[-1] in {"stop", "length"}, seen=reasons)


@_check
def _null_options_count_as_absent(client: httpx2.Client) -> None:
    nulls = dict.fromkeys(("temperature", "top_p", "stop", "seed", "max_tokens", "stream", "tools"))
    reply = client.post("chat/completions", json={**CHAT, **nulls})
    _ensure(holds=reply.status_code == 200, seen=reply.text)


@_check
def _the_callers_request_id_is_kept(client: httpx2.Client) -> None:
    # The server rejects a request id that is not a UUID.
    reply = client.post("chat/completions", json=CHAT, headers={"x-request-id": "my-request"})
    _ensure(holds=(reply.status_code, reply.headers["x-request-id"]) == (200, "my-request"), seen=reply.text)
