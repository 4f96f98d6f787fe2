"""Requests on Ollama's wire as requests on OpenAI's: what becomes of each field, in tables, and the way back."""

import base64
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.contract.body import validate
from ai_gateway.contract.write import to_json
from ai_gateway.errors import InvalidRequest, UnsupportedParameter
from ai_gateway.translate.chat_ollama.request import chat_request
from ai_gateway.translate.ollama_chat import request
from ai_gateway.translate.ollama_chat.policies import OPTIONS, POLICIES
from gateway_contract.ollama import models as ollama
from gateway_contract.openai import models as openai

type Json = dict[str, Any]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(8)).decode()
LINES = "\n".join(PNG[at : at + 5] for at in range(0, len(PNG), 5)) + "\n"
USER: Json = {"role": "user", "content": "Hello"}
USAGE: Json = {"stream": True, "stream_options": {"include_usage": True}}
PNG_URL = f"data:image/png;base64,{PNG}"
JPEG_URL = f"data:image/jpeg;base64,{JPEG}"
SCHEMA: Json = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}, "required": ["z"]}


def chat(*, native: bool = False, **fields: object) -> tuple[Json, list[str]]:
    """The request on OpenAI's wire that a chat becomes, and what was dropped."""
    body = validate(ollama.OllamaChatRequest, {"model": "m:latest", "messages": [USER], **fields})
    asked = request.chat(body, "m", native=native)
    return json.loads(to_json(asked.request)), sorted(asked.dropped)


def generate(**fields: object) -> tuple[Json, list[str]]:
    body = validate(ollama.OllamaGenerateRequest, {"model": "m", "prompt": "Hello", **fields})
    asked: Any = request.generate(body, "m")
    if request.is_text_completion(body):
        asked = request.complete(body, "m", native=False)
    return json.loads(to_json(asked.request)), sorted(asked.dropped)


CHATS: list[tuple[str, Json, Json, list[str]]] = [
    ("a stream unless it is off", {}, USAGE, []),
    ("null is on as well", {"stream": None}, USAGE, []),
    ("off", {"stream": False}, {"stream": False}, []),
    ("temperature", {"options": {"temperature": 0}}, {"temperature": 0}, []),
    ("a temperature beyond OpenAI's", {"options": {"temperature": 3.5}}, {"temperature": 3.5}, []),
    ("top_p", {"options": {"top_p": 0.5}}, {"top_p": 0.5}, []),
    ("seed", {"options": {"seed": 42}}, {"seed": 42}, []),
    ("one stop", {"options": {"stop": "END"}}, {"stop": "END"}, []),
    ("more stops than OpenAI takes", {"options": {"stop": list("abcdef")}}, {"stop": list("abcdef")}, []),
    ("no stops", {"options": {"stop": []}}, {}, []),
    ("a limit", {"options": {"num_predict": 7}}, {"max_tokens": 7}, []),
    ("no limit", {"options": {"num_predict": -1}}, {}, []),
    ("as much as fits", {"options": {"num_predict": -2}}, {}, []),
    ("penalties", {"options": {"presence_penalty": 1, "frequency_penalty": -1}},
     {"presence_penalty": 1, "frequency_penalty": -1}, []),
    ("options of Ollama's own", {"options": {"top_k": 5, "num_ctx": 8192, "mirostat": 2, "min_p": None}}, {},
     ["options.mirostat", "options.num_ctx", "options.top_k"]),
    ("json", {"format": "json"}, {"response_format": {"type": "json_object"}}, []),
    ("a schema", {"format": SCHEMA}, {"response_format": {
        "type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}}, []),
    ("no format", {"format": ""}, {}, []),
    ("thinking", {"think": True}, {"reasoning_effort": "medium"}, []),
    ("no thinking", {"think": False}, {"reasoning_effort": "none"}, []),
    *((f"thinking {much}", {"think": much}, {"reasoning_effort": much}, []) for much in ("low", "high", "max")),
    ("keep_alive", {"keep_alive": "5m"}, {}, ["keep_alive"]),
    ("keep_alive in seconds", {"keep_alive": -1}, {}, ["keep_alive"]),
    ("keep_alive of nothing", {"keep_alive": None}, {}, []),
    ("truncate and shift", {"truncate": False, "shift": True}, {}, ["shift", "truncate"]),
    ("log probabilities", {"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}, []),
    ("alternatives without log probabilities", {"top_logprobs": 3}, {}, ["top_logprobs"]),
    ("a field of the future", {"tomorrow": 1}, {}, ["tomorrow"]),
    ("no tools", {"tools": []}, {}, []),
    ("a tool, its keys in their order", {"tools": [{"type": "function", "function": {
        "name": "zebra", "description": "d", "parameters": SCHEMA}}]}, {"tools": [{"type": "function", "function": {
            "name": "zebra", "description": "d", "parameters": SCHEMA}}]}, []),
    ("a tool without parameters or type", {"tools": [{"function": {"name": "apfel"}}]},
     {"tools": [{"type": "function", "function": {"name": "apfel"}}]}, []),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "said", "dropped"), [row[1:] for row in CHATS], ids=[row[0] for row in CHATS])
def test_a_field_of_a_chat_is_said_on_the_other_wire_or_named(fields: Json, said: Json, dropped: list[str]) -> None:
    found, left = chat(**{"stream": False, **fields})
    expected = {"model": "m", "messages": [USER], **({"stream": False} if "stream" not in fields else {}), **said}
    if fields == {}:  # the row about the default
        found, left = chat()
        expected = {"model": "m", "messages": [USER], **USAGE}
    assert found == expected
    assert schemas(found) == schemas(said)
    assert left == dropped


def schemas(said: Json) -> str:
    """The parameters of every tool as a text: the order of their keys counts, because models write in it."""
    return json.dumps([tool["function"].get("parameters") for tool in said.get("tools", [])])


def image(url: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def call(ident: str, name: str, arguments: str) -> Json:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


WEATHER: Json = {"function": {"name": "weather", "arguments": {"city": "Köln", "days": [1, 2]}}}
KOELN = '{"city":"Köln","days":[1,2]}'
TIME: Json = {"function": {"name": "time", "arguments": {}}}
TALKS: list[tuple[str, list[Json], list[Json], list[str]]] = [
    ("roles in their order",
     [{"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "a"}, USER],
     [{"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "a"}, USER], []),
    ("no content", [{"role": "user"}, {"role": "assistant", "content": None}],
     [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}], []),
    ("images beside a text", [{"role": "user", "content": "see", "images": [PNG, JPEG]}],
     [{"role": "user", "content": [
         {"type": "text", "text": "see"}, image(PNG_URL), image(JPEG_URL),
     ]}], []),
    ("an image alone, as a URL", [{"role": "user", "content": "", "images": [f"data:image/webp;base64,{PNG}"]}],
     [{"role": "user", "content": [image(f"data:image/webp;base64,{PNG}")]}], []),
    ("base64 in lines", [{"role": "user", "images": [LINES, LINES.replace("\n", "\r\n"), f"\r\n{PNG[:-1]}\n=\n"]}],
     [{"role": "user", "content": [image(PNG_URL)] * 3}], []),
    ("a call and its result, without ids",
     [USER, {"role": "assistant", "tool_calls": [WEATHER]}, {"role": "tool", "content": "11", "tool_name": "weather"}],
     [USER, {"role": "assistant", "content": None, "tool_calls": [
         call("call_0", "weather", KOELN)]},
      {"role": "tool", "content": "11", "tool_call_id": "call_0"}], []),
    ("ids are kept",
     [{"role": "assistant", "content": "", "tool_calls": [{"id": "x1", **TIME}]},
      {"role": "tool", "content": "12", "tool_call_id": "x1"}],
     [{"role": "assistant", "content": None, "tool_calls": [call("x1", "time", "{}")]},
      {"role": "tool", "content": "12", "tool_call_id": "x1"}], []),
    ("results find their calls by name",
     [{"role": "assistant", "content": "two", "tool_calls": [WEATHER, TIME]},
      {"role": "tool", "content": "noon", "tool_name": "time"},
      {"role": "tool", "content": "11", "tool_name": "weather"}],
     [{"role": "assistant", "content": "two", "tool_calls": [
         call("call_0", "weather", KOELN), call("call_1", "time", "{}")]},
      {"role": "tool", "content": "noon", "tool_call_id": "call_1"},
      {"role": "tool", "content": "11", "tool_call_id": "call_0"}], []),
    ("results find their calls by the older name of the name",
     [{"role": "assistant", "tool_calls": [WEATHER, TIME]},
      {"role": "tool", "content": "noon", "name": "time"},
      {"role": "tool", "content": "11", "name": "weather"}],
     [{"role": "assistant", "content": None, "tool_calls": [
         call("call_0", "weather", KOELN), call("call_1", "time", "{}")]},
      {"role": "tool", "content": "noon", "tool_call_id": "call_1"},
      {"role": "tool", "content": "11", "tool_call_id": "call_0"}], []),
    ("a name that tells nothing is dropped",
     [{"role": "assistant", "tool_calls": [WEATHER, TIME]},
      {"role": "tool", "content": "noon", "name": "weather", "tool_name": "time"},
      {"role": "tool", "content": "11", "name": 1}, {**USER, "name": "Ada"}],
     [{"role": "assistant", "content": None, "tool_calls": [
         call("call_0", "weather", KOELN), call("call_1", "time", "{}")]},
      {"role": "tool", "content": "noon", "tool_call_id": "call_1"},
      {"role": "tool", "content": "11", "tool_call_id": "call_0"}, USER], ["messages.name"]),
    ("results without a name come in order, and calls of one name too",
     [{"role": "assistant", "tool_calls": [TIME, TIME]}, {"role": "tool", "content": "1"},
      {"role": "tool", "content": "2", "tool_name": "time"}],
     [{"role": "assistant", "content": None, "tool_calls": [
         call("call_0", "time", "{}"), call("call_1", "time", "{}")]},
      {"role": "tool", "content": "1", "tool_call_id": "call_0"},
      {"role": "tool", "content": "2", "tool_call_id": "call_1"}], []),
    ("calls of later turns have ids of their own",
     [{"role": "assistant", "tool_calls": [TIME]}, {"role": "tool", "content": "1"}, USER,
      {"role": "assistant", "tool_calls": [TIME]}, {"role": "tool", "content": "2"}],
     [{"role": "assistant", "content": None, "tool_calls": [call("call_0", "time", "{}")]},
      {"role": "tool", "content": "1", "tool_call_id": "call_0"}, USER,
      {"role": "assistant", "content": None, "tool_calls": [call("call_1", "time", "{}")]},
      {"role": "tool", "content": "2", "tool_call_id": "call_1"}], []),
    ("no id that the caller uses is given to another call",
     [{"role": "assistant", "tool_calls": [TIME, {"id": "call_1", **WEATHER}, TIME]}, {"role": "tool", "content": "1"},
      {"role": "tool", "content": "2", "tool_call_id": "call_1"}, {"role": "tool", "content": "3"},
      {"role": "tool", "content": "4", "tool_call_id": "call_0"}],
     [{"role": "assistant", "content": None, "tool_calls": [
         call("call_2", "time", "{}"), call("call_1", "weather", KOELN), call("call_3", "time", "{}")]},
      {"role": "tool", "content": "1", "tool_call_id": "call_2"},
      {"role": "tool", "content": "2", "tool_call_id": "call_1"},
      {"role": "tool", "content": "3", "tool_call_id": "call_3"},
      {"role": "tool", "content": "4", "tool_call_id": "call_0"}], []),
    ("calls of two messages in a row are open together",
     [{"role": "assistant", "tool_calls": [WEATHER]}, {"role": "assistant", "tool_calls": [TIME]},
      {"role": "tool", "content": "11", "tool_name": "weather"}, {"role": "tool", "content": "noon"}],
     [{"role": "assistant", "content": None, "tool_calls": [call("call_0", "weather", KOELN)]},
      {"role": "assistant", "content": None, "tool_calls": [call("call_1", "time", "{}")]},
      {"role": "tool", "content": "11", "tool_call_id": "call_0"},
      {"role": "tool", "content": "noon", "tool_call_id": "call_1"}], []),
    ("a call that nobody answered takes no later result",
     [{"role": "assistant", "tool_calls": [TIME]}, USER,
      {"role": "assistant", "tool_calls": [TIME]}, {"role": "tool", "content": "2"}],
     [{"role": "assistant", "content": None, "tool_calls": [call("call_0", "time", "{}")]}, USER,
      {"role": "assistant", "content": None, "tool_calls": [call("call_1", "time", "{}")]},
      {"role": "tool", "content": "2", "tool_call_id": "call_1"}], []),
    ("a result of no call has an id that no later call has",
     [{"role": "tool", "content": "1"}, {"role": "assistant", "tool_calls": [TIME]}, {"role": "tool", "content": "2"}],
     [{"role": "tool", "content": "1", "tool_call_id": "call_0"},
      {"role": "assistant", "content": None, "tool_calls": [call("call_1", "time", "{}")]},
      {"role": "tool", "content": "2", "tool_call_id": "call_1"}], []),
    ("a result of no call", [{"role": "tool", "content": "1", "tool_name": "nobody"}],
     [{"role": "tool", "content": "1", "tool_call_id": "call_0"}], []),
    ("images of results follow once all results are there",
     [{"role": "assistant", "tool_calls": [TIME, WEATHER]}, {"role": "tool", "content": "1", "images": [PNG]},
      {"role": "tool", "content": "2"}, {"role": "assistant", "content": "seen"}],
     [{"role": "assistant", "content": None, "tool_calls": [
         call("call_0", "time", "{}"), call("call_1", "weather", KOELN)]},
      {"role": "tool", "content": "1", "tool_call_id": "call_0"},
      {"role": "tool", "content": "2", "tool_call_id": "call_1"},
      {"role": "user", "content": [image(PNG_URL)]}, {"role": "assistant", "content": "seen"}], []),
    ("images at the end", [{"role": "assistant", "content": "drawn", "images": [PNG]}],
     [{"role": "assistant", "content": "drawn"}, {"role": "user", "content": [image(PNG_URL)]}], []),
    ("earlier thoughts are named", [{"role": "assistant", "content": "a", "thinking": "hm", "odd": 1}],
     [{"role": "assistant", "content": "a", "odd": 1}], ["messages.thinking"]),
]  # fmt: skip


@pytest.mark.parametrize(("said", "reported", "dropped"), [row[1:] for row in TALKS], ids=[row[0] for row in TALKS])
def test_a_conversation_is_told_on_the_other_wire(said: list[Json], reported: list[Json], dropped: list[str]) -> None:
    found, left = chat(messages=said, stream=False)
    assert found["messages"] == reported
    assert left == dropped
    validate(openai.CreateChatCompletionRequest, found)


@pytest.mark.parametrize("odd", ["", "\n", "QQ=", "Q\nQ", "QQ==\t", "QQ==QQ==", "Q Q=", "da\nta:image/png;base64,QQ=="])
def test_what_is_no_base64_is_no_image(odd: str) -> None:
    with pytest.raises(InvalidRequest, match="images"):
        chat(messages=[{"role": "user", "images": [odd]}])


def test_a_question_is_a_chat_of_its_own() -> None:
    found, dropped = generate(system="Be brief.", images=[PNG], format="json", think=True, options={"seed": 1})
    assert found == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "Hello"}, image(PNG_URL)]},
        ],
        "response_format": {"type": "json_object"},
        "reasoning_effort": "medium",
        "seed": 1,
        **USAGE,
    }  # fmt: skip
    assert dropped == []


def test_a_text_is_continued() -> None:
    found, dropped = generate(raw=True, suffix=" end", logprobs=True, top_logprobs=2, think=True, stream=False)
    assert found == {"model": "m", "prompt": "Hello", "suffix": " end", "logprobs": 2, "stream": False}
    assert dropped == ["think"]
    assert generate(suffix="x")[0]["suffix"] == "x"


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1, 2]}, "context"),
        ({"raw": True, "system": "s"}, "system"),
        ({"raw": True, "images": [PNG]}, "images"),
        ({"suffix": "x", "format": "json"}, "format"),
    ],
)
def test_what_would_change_the_answer_is_refused(fields: Json, blamed: str) -> None:
    with pytest.raises(UnsupportedParameter, match=f"'{blamed}'") as refused:
        generate(**fields)
    assert refused.value.param == blamed


def test_what_official_clients_send_empty_is_as_good_as_absent() -> None:
    empty = {"suffix": "", "system": "", "template": "", "context": [], "format": "", "images": [], "raw": False}
    assert generate(**empty, keep_alive=None, options={}) == generate()


@pytest.mark.parametrize("keep_alive", [0, 0.0, "0", "0s", "0m0s", "0.0s"])
def test_a_model_is_unloaded_however_zero_is_said(keep_alive: object) -> None:
    assert request.unloads(keep_alive) is True  # type: ignore[arg-type] # the table holds all kinds


@pytest.mark.parametrize("keep_alive", [None, 1, -1, "5m", "10s", "-1", "", "s"])
def test_a_model_stays_however_else_its_time_is_said(keep_alive: object) -> None:
    assert request.unloads(keep_alive) is False  # type: ignore[arg-type] # the table holds all kinds


def test_dimensions_of_zero_are_none_in_particular() -> None:
    assert json.loads(to_json(request.embed("m", ["a"], 0))) == {"model": "m", "input": ["a"]}
    assert json.loads(to_json(request.embed("m", "a", 3))) == {"model": "m", "input": "a", "dimensions": 3}


def test_for_a_provider_of_the_same_wire_everything_stays_as_it_was_said() -> None:
    fields: Json = {
        "messages": [{"role": "user", "content": "x", "images": [f"data:image/png;base64,{PNG}"], "odd": 1}],
        "tools": [{"type": "function", "function": {"name": "a", "parameters": SCHEMA}}],
        "options": {"top_k": 5, "mirostat": 2, "temperature": 0.5},
        "format": SCHEMA,
        "think": "max",
        "keep_alive": "5m",
        "truncate": False,
        "tomorrow": {"a": [1]},
    }
    body = validate(ollama.OllamaChatRequest, {"model": "m", "stream": False, "system": None, **fields})
    message = {"role": "user", "content": "x", "images": [PNG], "odd": 1}
    assert request.native_body(body) == {**fields, "messages": [message]}
    assert chat(native=True, **fields)[1] == []


def test_a_generate_for_a_provider_of_the_same_wire_is_refused_nothing() -> None:
    said: Json = {"prompt": "p", "template": "t", "context": [1], "system": "s", "suffix": "x", "images": [PNG]}
    body = validate(ollama.OllamaGenerateRequest, {"model": "m", **said})
    assert request.native_body(body) == {**said, "raw": False}
    assert request.complete(body, "m", native=True).dropped == []
    older = validate(ollama.OllamaEmbeddingsRequest, {"model": "m", "prompt": "p", "options": {"num_ctx": 9}})
    assert request.native_body(older) == {"input": "p", "options": {"num_ctx": 9}}


numbers = st.floats(-2, 2, allow_nan=False)
words = st.text(max_size=20)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
arguments = st.dictionaries(words, st.one_of(st.integers(-(2**53), 2**53), words, st.none(), st.lists(st.booleans())))
OPTION = st.fixed_dictionaries({}, optional={
    "temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "seed": st.integers(0, 2**31),
    "num_predict": st.integers(1, 9999),
    "stop": st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4), "presence_penalty": numbers,
    "frequency_penalty": numbers,
})  # fmt: skip


def called(calls: list[tuple[str, Json]]) -> Json:
    said = [{"function": {"name": name, "arguments": given}} for name, given in calls]
    return {"role": "assistant", "content": "", "tool_calls": said}


TURN = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "assistant"]), "content": words}),
    st.fixed_dictionaries({"role": st.just("user"), "content": st.text(min_size=1)},
                          optional={"images": st.lists(st.sampled_from([PNG, JPEG]), min_size=1, max_size=2)}),
    st.lists(st.tuples(names, arguments), min_size=1, max_size=3).map(called),
)  # fmt: skip
CHAT = st.fixed_dictionaries(
    {"model": names, "messages": st.lists(TURN, min_size=1, max_size=5)},
    optional={
        "stream": st.booleans(),
        "options": OPTION,
        "format": st.one_of(st.just("json"), arguments.map(lambda given: {"type": "object", "properties": given})),
        "think": st.sampled_from([False, "low", "medium", "high", "max"]),
        "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": st.fixed_dictionaries(
            {"name": names, "parameters": arguments}, optional={"description": words})}), min_size=1, max_size=2),
    },
)  # fmt: skip


def back(said: Json) -> Json:
    """What a request on OpenAI's wire says, in Ollama's words: the inverse, for the tests alone."""
    found: Json = {"model": said["model"], "messages": [back_message(message) for message in said["messages"]]}
    found["stream"] = said["stream"]
    options = {option: said[name] for option, name in OPTIONS.items() if name in said}
    wanted = said.get("response_format")
    if wanted:
        found["format"] = "json" if wanted["type"] == "json_object" else wanted["json_schema"]["schema"]
    if "reasoning_effort" in said:
        found["think"] = {"none": False}.get(said["reasoning_effort"], said["reasoning_effort"])
    return found | ({"options": options} if options else {}) | ({"tools": said["tools"]} if "tools" in said else {})


def back_message(said: Json) -> Json:
    content = said["content"]
    found: Json = {"role": said["role"], "content": content or ""}
    if isinstance(content, list):
        texts = [part["text"] for part in content if part["type"] == "text"]
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        found |= {"content": "".join(texts), "images": [url.partition(",")[2] for url in urls]}
    if "tool_calls" in said:
        found["tool_calls"] = [
            {"function": {"name": one["function"]["name"], "arguments": json.loads(one["function"]["arguments"])}}
            for one in said["tool_calls"]
        ]
    return found


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(CHAT)
def test_what_both_wires_can_say_survives_the_way_there_and_back(said: Json) -> None:
    asked = request.chat(validate(ollama.OllamaChatRequest, said), said["model"], native=False)
    there = json.loads(to_json(asked.request))
    expected = {"stream": True, **said}
    if not expected.get("options"):
        expected.pop("options", None)
    assert asked.dropped == []
    assert back(there) == expected


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(CHAT)
def test_what_both_wires_can_say_survives_the_way_to_an_ollama_server(said: Json) -> None:
    """The same law with the adapter's own translation as the way back; ids and places are what a server adds."""
    asked = request.chat(validate(ollama.OllamaChatRequest, said), said["model"], native=False)
    there = validate(openai.CreateChatCompletionRequest, json.loads(to_json(asked.request)))
    translated = chat_request(there, {})
    assert translated.dropped == frozenset()
    found: Json = json.loads(json.dumps(translated.body))
    for message in found["messages"]:
        for one in message.get("tool_calls", []):
            del one["id"], one["function"]["index"]
    expected = {"stream": True, **said}
    if not expected.get("options"):
        expected.pop("options", None)
    assert found == expected


def test_the_policies_are_the_ones_that_are_documented() -> None:
    policies = cast("Mapping[str, Mapping[str, str]]", POLICIES)
    found = {
        f"{operation}.{field}"
        for operation, fields in policies.items()
        for field in fields
        if fields[field] != "mapped"
    }
    assert found == {
        "ollamaGenerate.keep_alive", "ollamaGenerate.truncate", "ollamaGenerate.shift", "ollamaGenerate.template",
        "ollamaGenerate.context", "ollamaChat.keep_alive", "ollamaChat.truncate", "ollamaChat.shift",
        "ollamaEmbed.truncate", "ollamaEmbed.options", "ollamaEmbed.keep_alive", "ollamaShow.verbose",
        "ollamaEmbeddings.keep_alive", "ollamaEmbeddings.options",
    }  # fmt: skip
