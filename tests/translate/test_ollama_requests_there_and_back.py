"""The law of requests, from OpenAI's wire to Ollama's and back: what both can ask for is asked for as before."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.contract.body import validate
from ai_gateway.contract.write import to_json
from ai_gateway.translate.chat_ollama.request import chat_request, completion_request, embed_request
from ai_gateway.translate.ollama_chat import request as to_openai
from gateway_contract.ollama import models as ollama
from gateway_contract.openai import models as openai
from tests.translate.both_wires import LAW, Json, calls, exact, names, objects, some_words, words

PICTURES = {"image/png": b"\x89PNG\r\n\x1a\nxx", "image/jpeg": b"\xff\xd8\xffxx", "image/gif": b"GIF89axx"}
THINK = {"minimal": "low", "xhigh": "max"}
ONE_OF_FOUR = st.lists(some_words, min_size=1, max_size=4)


def picture(kind: str) -> Json:
    url = f"data:{kind};base64,{base64.b64encode(PICTURES[kind]).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


texts = st.builds(lambda text: {"type": "text", "text": text}, words)
images = st.sampled_from(sorted(PICTURES)).map(picture)
saying = words | st.lists(texts, min_size=1, max_size=3)
TURN = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer"]), "content": saying}),
    st.fixed_dictionaries({"role": st.just("user"), "content": saying | st.lists(texts | images, min_size=1)}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": saying}, optional={"refusal": words}),
    st.tuples(st.none() | saying, calls.filter(bool), st.sampled_from([None, 2])),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    """Messages of every kind, the results of calls behind them in either order; ids may come again in later turns."""
    found: list[Json] = []
    for turn in draw(st.lists(TURN, min_size=1, max_size=4)):
        if isinstance(turn, dict):
            found.append(turn)
            continue
        content, called, indent = turn
        if draw(st.booleans()):  # one function called again and again: only the ids tell its results apart
            called = [{**call, "name": "again"} for call in called]
        tools = [
            {"id": call["id"], "type": "function",
             "function": {"name": call["name"], "arguments": json.dumps(call["arguments"], indent=indent)}}
            for call in called
        ]  # fmt: skip
        found.append({"role": "assistant", "content": content, "tool_calls": tools})
        answered = draw(st.sampled_from([called, called[::-1]]))
        found += [{"role": "tool", "tool_call_id": call["id"], "content": draw(saying)} for call in answered]
    return found


FUNCTION = st.fixed_dictionaries(
    {"name": names}, optional={"description": some_words, "parameters": objects, "strict": st.booleans()}
)
TOOL = st.fixed_dictionaries({"type": st.just("function"), "function": FUNCTION})
CHAT = st.fixed_dictionaries(
    {"model": names, "messages": conversations()},
    optional={
        "stream": st.booleans(),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "stop": some_words | ONE_OF_FOUR,
        "max_tokens": st.integers(1, 2**31),
        "max_completion_tokens": st.integers(1, 2**31),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "response_format": st.one_of(
            st.just({"type": "json_object"}),
            st.builds(lambda name, schema: {"type": "json_schema", "json_schema": {"name": name, "schema": schema}},
                      st.sampled_from(["response", "other"]), objects),
        ),
        "tools": st.lists(TOOL, min_size=1, max_size=2),
        "logprobs": st.just(value=True),
        "n": st.just(1),
    },
)  # fmt: skip


def there_and_back(said: Json) -> Json:
    """The request after both journeys. Nothing may be dropped on the way."""
    there = chat_request(validate(openai.CreateChatCompletionRequest, said), {})
    assert there.dropped == frozenset()
    body = validate(ollama.OllamaChatRequest, json.loads(json.dumps(there.body)))
    back = to_openai.chat(body, said["model"], native=False)
    assert back.dropped == []
    found: Json = json.loads(to_json(back.request))
    return found


def normal(said: Json) -> Json:
    """What is the same on Ollama's wire, in one form."""
    found: Json = {name: value for name, value in said.items() if name != "n"}
    found["messages"] = [normal_message(message) for message in said["messages"]]
    limits = [found.pop(name) for name in ("max_tokens", "max_completion_tokens") if name in found]
    found |= {"max_tokens": min(limits)} if limits else {}
    if isinstance(found.get("stop"), str):
        found["stop"] = [found["stop"]]
    if "reasoning_effort" in found:
        found["reasoning_effort"] = THINK.get(found["reasoning_effort"], found["reasoning_effort"])
    if "json_schema" in found.get("response_format", {}):
        schema = found["response_format"]["json_schema"]["schema"]
        found["response_format"] = {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}
    if "tools" in found:
        none: Json = {"type": "object", "properties": {}}
        found["tools"] = [
            {"type": "function", "function": {"parameters": none, **tool["function"]}} for tool in found["tools"]
        ]
    found["stream"] = found.get("stream", False)
    return found | ({"stream_options": {"include_usage": True}} if found["stream"] else {})


def normal_message(said: Json) -> Json:
    """A message with its texts as one, images behind it, and arguments as values."""
    content = said["content"]
    pieces = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    text = "\n".join(piece["text"] for piece in pieces if piece["type"] == "text")
    shown = [piece for piece in pieces if piece["type"] == "image_url"]
    match said:
        case {"role": "tool"}:
            return {**said, "content": text}
        case {"tool_calls": called}:
            return {"role": "assistant", "content": text or None, "tool_calls": parsed(called)}
        case {"role": "assistant"}:
            return {"role": "assistant", "content": "\n".join(filter(None, [text, said.get("refusal")]))}
        case {"role": "user"} if shown:
            return {"role": "user", "content": [*([{"type": "text", "text": text}] if text else []), *shown]}
    return {"role": "system" if said["role"] == "developer" else said["role"], "content": text}


def parsed(called: list[Json]) -> list[Json]:
    return [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        for call in called
    ]


@pytest.mark.slow
@LAW
@given(CHAT)
def test_a_request_of_openais_wire_comes_back_from_ollamas(said: Json) -> None:
    """The identity, with nothing dropped. Where OpenAI has several words for one thing of Ollama's:

    - developer is system; a refusal is said behind the content; the parts of a text are joined by line feeds;
    - the images of a message follow its text; content that is null or empty is null beside calls, else empty;
    - of two limits the tighter is `max_tokens`; a stop is a list of one; an effort is the nearest that Ollama knows;
    - a schema's name is `response`; a tool without parameters takes an empty object;
    - arguments are the same values, however they are spaced;
    - one answer is one however it is said, and a stream that is on ends with its usage.
    """
    found = there_and_back(said)
    for message in found["messages"]:
        if "tool_calls" in message:
            message["tool_calls"] = parsed(message["tool_calls"])
    assert exact(found) == exact(normal(said))


TEXT = st.fixed_dictionaries(
    {"model": names, "prompt": some_words},
    optional={"suffix": some_words, "stream": st.booleans(), "temperature": st.floats(0, 2), "seed": st.integers(0, 9),
              "max_tokens": st.integers(1, 9999), "stop": ONE_OF_FOUR, "logprobs": st.integers(0, 5),
              "top_p": st.floats(0, 1), "presence_penalty": st.floats(-2, 2), "frequency_penalty": st.floats(-2, 2)},
)  # fmt: skip


@LAW
@given(TEXT)
def test_a_text_to_continue_comes_back(said: Json) -> None:
    """The identity, with nothing dropped; a stream that is on ends with its usage."""
    there = completion_request(validate(openai.CreateCompletionRequest, said))
    body = validate(ollama.OllamaGenerateRequest, json.loads(json.dumps(there.body)))
    assert to_openai.is_text_completion(body)
    back = to_openai.complete(body, said["model"], native=False)
    assert (there.dropped, back.dropped) == (frozenset(), [])
    stream: Json = {"stream": False}
    if said.get("stream"):
        stream = {"stream": True, "stream_options": {"include_usage": True}}
    assert exact(json.loads(to_json(back.request))) == exact({**said, **stream})


@LAW
@given(names, words | st.lists(words, min_size=1, max_size=3), st.none() | st.integers(1, 4096))
def test_texts_for_vectors_come_back(model: str, given_texts: str | list[str], dimensions: int | None) -> None:
    said: Json = {"model": model, "input": given_texts} | ({"dimensions": dimensions} if dimensions else {})
    there: Any = embed_request(openai.CreateEmbeddingRequest.model_validate(said))
    body = validate(ollama.OllamaEmbedRequest, there.body)
    back = to_openai.embed(body.model, body.input or "", body.dimensions)
    assert exact(json.loads(to_json(back))) == exact(said)
