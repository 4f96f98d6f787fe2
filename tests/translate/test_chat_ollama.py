"""Every field of the contract on its way to Ollama, and everything Ollama answers on its way back."""

import base64
import json
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from pydantic_core import to_json

from ai_gateway.contract.body import parse_json, validate
from ai_gateway.errors import InvalidRequest, UnsupportedValue, UpstreamInvalidResponse
from ai_gateway.providers.ollama.policies import OLLAMA
from ai_gateway.translate.chat_ollama.forced import ForcedCall
from ai_gateway.translate.chat_ollama.messages import image_urls
from ai_gateway.translate.chat_ollama.reply import (
    RequestContext,
    chat_response,
    completion_response,
    embedding_response,
    model_list,
)
from ai_gateway.translate.chat_ollama.request import Translated, chat_request, completion_request, embed_request
from ai_gateway.translate.chat_ollama.stream import ChatStreamTranslator, CompletionStreamTranslator
from ai_gateway.translate.wires.ollama import ModelList, Reply, Vectors, read, seconds
from gateway_contract.openai import models

PNG = base64.b64encode(b"\x89PNG\r\n").decode()
HELLO = [{"role": "user", "content": "Hello"}]
BASE = {"model": "m", "messages": HELLO, "stream": False}
ASKED = RequestContext("asked-model", "req-1", 1_700_000_000)
AT = "2026-03-01T12:00:00.123456789Z"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
OTHER = {"type": "function", "function": {"name": "g", "parameters": {}}}


def chat(images: Mapping[str, str] | None = None, /, **fields: Any) -> Translated:
    body = {"model": "m", "messages": HELLO, **fields}
    return chat_request(validate(models.CreateChatCompletionRequest, body), images or {})


def complete(**fields: Any) -> Translated:
    return completion_request(validate(models.CreateCompletionRequest, {"model": "m", "prompt": "p", **fields}))


def embed(**fields: Any) -> Translated:
    return embed_request(validate(models.CreateEmbeddingRequest, {"model": "m", "input": "x", **fields}))


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def calling(more: dict[str, Any], inside: dict[str, Any] | None = None) -> dict[str, Any]:
    """An assistant's message with one call, with more in the call and inside of its function."""
    function = {"name": "f", "arguments": "{}", **(inside or {})}
    return {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function, **more}]}


def allowing(*entries: dict[str, Any], mode: str = "auto") -> dict[str, Any]:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(entries)}}
    return {"tools": [OTHER, TOOL], "tool_choice": choice}


# -- requests --

CHAT_FIELDS: list[tuple[str, Any, dict[str, Any]]] = [
    ("model", "other:7b", {"model": "other:7b"}),
    ("stream", True, {"stream": True}),
    ("stream_options", {"include_usage": True}, {}),
    ("temperature", 0.3, {"options": {"temperature": 0.3}}),
    ("top_p", 0.9, {"options": {"top_p": 0.9}}),
    ("seed", 9007199254740993, {"options": {"seed": 9007199254740993}}),
    ("stop", "END", {"options": {"stop": ["END"]}}),
    ("stop", ["a", "b"], {"options": {"stop": ["a", "b"]}}),
    ("max_tokens", 5, {"options": {"num_predict": 5}}),
    ("max_tokens", -1, {"options": {"num_predict": -1}}),
    ("max_completion_tokens", 6, {"options": {"num_predict": 6}}),
    ("presence_penalty", 0.5, {"options": {"presence_penalty": 0.5}}),
    ("frequency_penalty", -0.5, {"options": {"frequency_penalty": -0.5}}),
    ("response_format", {"type": "text"}, {}),
    ("response_format", {"type": "json_object"}, {"format": "json"}),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"z": 1.0, "a": [2**70]}}},
        {"format": {"z": 1.0, "a": [2**70]}},
    ),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "n"}}, {"format": "json"}),
    ("reasoning_effort", "default", {}),
    ("reasoning_effort", "none", {"think": False}),
    ("reasoning_effort", "minimal", {"think": "low"}),
    ("reasoning_effort", "low", {"think": "low"}),
    ("reasoning_effort", "medium", {"think": "medium"}),
    ("reasoning_effort", "high", {"think": "high"}),
    ("reasoning_effort", "xhigh", {"think": "max"}),
    ("reasoning_effort", "max", {"think": "max"}),
    ("logprobs", True, {"logprobs": True}),
    ("top_logprobs", 3, {"top_logprobs": 3}),
    ("n", 1, {}),
    ("modalities", ["text"], {}),
    ("parallel_tool_calls", True, {}),
    ("tools", [TOOL], {"tools": [TOOL]}),
    ("tool_choice", "auto", {}),
]


@pytest.mark.parametrize(("field", "value", "expected"), CHAT_FIELDS)
def test_a_chat_field_arrives_in_ollamas_terms(field: str, value: Any, expected: dict[str, Any]) -> None:
    made = chat(**{field: value})
    assert made.body == BASE | expected
    assert made.dropped == frozenset()


def test_the_table_and_the_messages_cover_every_mapped_field() -> None:
    mapped = {field for field, policy in OLLAMA["createChatCompletion"].items() if policy == "mapped"}
    assert mapped == {field for field, _, _ in CHAT_FIELDS} | {"messages"}
    assert "forwarded" not in {*OLLAMA["createChatCompletion"].values(), *OLLAMA["createCompletion"].values()}


def test_every_degree_of_thinking_that_the_contract_knows_is_mapped() -> None:
    annotation = models.CreateChatCompletionRequest.model_fields["reasoning_effort"].annotation
    known = {value for part in get_args(annotation) for value in (part, *get_args(part)) if isinstance(value, str)}
    assert known == {value for field, value, _ in CHAT_FIELDS if field == "reasoning_effort"}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("model", "other", {"model": "other"}),
        ("prompt", ["one"], {"prompt": "one"}),
        ("prompt", None, {"prompt": ""}),
        ("suffix", "end", {"suffix": "end", "raw": None}),
        ("stream", True, {"stream": True}),
        ("stream_options", {"include_usage": True}, {}),
        ("temperature", 0.3, {"options": {"temperature": 0.3}}),
        ("top_p", 0.9, {"options": {"top_p": 0.9}}),
        ("seed", 7, {"options": {"seed": 7}}),
        ("stop", "END", {"options": {"stop": ["END"]}}),
        ("max_tokens", 5, {"options": {"num_predict": 5}}),
        ("presence_penalty", 0.5, {"options": {"presence_penalty": 0.5}}),
        ("frequency_penalty", -0.5, {"options": {"frequency_penalty": -0.5}}),
        ("logprobs", 0, {"logprobs": True}),
        ("logprobs", 2, {"logprobs": True, "top_logprobs": 2}),
        ("n", 1, {}),
        ("best_of", 0, {}),
        ("best_of", 1, {}),
        ("echo", False, {}),
    ],
)
def test_a_completion_field_arrives_in_ollamas_terms(field: str, value: Any, expected: dict[str, Any]) -> None:
    wanted = {"model": "m", "prompt": "p", "raw": True, "stream": False} | expected
    assert complete(**{field: value}).body == {name: item for name, item in wanted.items() if item is not None}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"input": "x"}),
        ({"input": ["a", "b"]}, {"input": ["a", "b"]}),
        ({"dimensions": 8, "encoding_format": "base64"}, {"input": "x", "dimensions": 8}),
    ],
)
def test_an_embedding_request_refuses_what_is_too_long_instead_of_cutting_it(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert embed(**fields).body == {"model": "m", "truncate": False} | expected


@pytest.mark.parametrize(
    ("fields", "num_predict"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 3}, 3),
        ({"max_tokens": 3, "max_completion_tokens": 5}, 3),
        ({"max_tokens": -1, "max_completion_tokens": 5}, 5),
        ({"max_tokens": -2}, -2),
    ],
)
def test_the_tighter_of_two_limits_counts(fields: dict[str, Any], num_predict: int) -> None:
    assert chat(**fields).body["options"] == {"num_predict": num_predict}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_completion_tokens": 5, "max_tokens": 0}, "max_tokens"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "no"}}},
            "tool_choice.function.name",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        (allowing({"function": {"name": "f"}}, {"function": {"name": "no"}}), "tool_choice.allowed_tools.tools"),
        (allowing(), "tool_choice.allowed_tools.tools"),
        (allowing({"type": "custom", "custom": {"name": "f"}}), "tool_choice.allowed_tools.tools[0]"),
        ({"options": [1]}, "options"),
    ],
)
def test_a_value_that_cannot_be_honoured_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        chat(**fields)
    assert (refusal.value.status, refusal.value.param) == (400, param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True}, "echo"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [1]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
    ],
)
def test_a_completion_that_cannot_be_honoured_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedValue) as refusal:
        complete(**fields)
    assert refusal.value.param == param


@pytest.mark.parametrize("given", [[1, 2], [[1], [2]]])
def test_token_ids_are_refused_as_input(given: Any) -> None:
    with pytest.raises(UnsupportedValue) as refusal:
        embed(input=given)
    assert refusal.value.param == "input"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d"}}},
            "response_format.json_schema.description",
        ),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages.name"),
        ({"messages": [{"role": "user", "content": "x", "cache_control": {"a": 1}}]}, "messages.cache_control"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"a": 1}}]}]},
            "messages.content.cache_control",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}],
                    }
                ]
            },
            "messages.content.image_url.detail",
        ),
        (
            {"messages": [user({"type": "image_url", "image_url": {"url": PNG, "format": "png"}})]},
            "messages.content.image_url.format",
        ),
        ({"messages": [calling({"other_fields": [{"function": 1}]})]}, "messages.tool_calls.function"),
        ({"stream_options": {"odd": 1}}, "stream_options.odd"),
        ({"response_format": {"type": "json_object", "odd": 1}}, "response_format.odd"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "odd": 1}}},
            "response_format.json_schema.odd",
        ),
        ({"reasoning_effort": "high", "think": False}, "think"),
        ({"temperature": 1, "options": {"temperature": 0, "num_ctx": 9}}, "options.temperature"),
    ],
)
def test_what_has_no_place_in_a_request_is_named(fields: dict[str, Any], named: str) -> None:
    assert chat(**fields).dropped == {named}


def test_what_has_no_place_in_a_completion_is_named() -> None:
    options = {"include_usage": True, "include_obfuscation": True, "odd": 1}
    assert complete(stream=True, stream_options=options).dropped == {
        "stream_options.include_obfuscation",
        "stream_options.odd",
    }


def test_the_place_of_a_call_is_said_by_the_order() -> None:
    assert chat(messages=[calling({"index": 0})]).dropped == frozenset()


def test_what_else_a_choice_of_tools_holds_is_named() -> None:
    named = {"type": "function", "function": {"name": "f", "odd": 1}, "mood": "good"}
    assert chat(tools=[TOOL], tool_choice=named).dropped == {
        "tool_choice.function.odd",
        "tool_choice.mood",
    }
    entry = {"type": "function", "function": {"name": "f"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [entry], "odd": 1}}
    assert chat(tools=[TOOL], tool_choice=allowed).dropped == {"tool_choice.allowed_tools.odd"}


def test_a_named_tool_narrows_the_offer_and_is_forced() -> None:
    named = {"type": "function", "function": {"name": "f"}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "string"}}}
    made = chat(tools=[OTHER, TOOL], tool_choice=named, parallel_tool_calls=False, response_format=form)
    assert made.body["tools"] == [TOOL]
    assert made.body["format"] == TOOL["function"]["parameters"]
    assert (made.dropped, made.forced) == (frozenset(), ForcedCall(["f"]))


@pytest.mark.parametrize("entry", [{"type": "function", "function": {"name": "g"}}, {"type": "function", "name": "g"}])
@pytest.mark.parametrize(("mode", "forced"), [("auto", None), ("required", ForcedCall(["g"]))])
def test_allowed_tools_narrow_the_offer(mode: str, forced: ForcedCall | None, entry: dict[str, Any]) -> None:
    made = chat(**allowing(entry, mode=mode))
    assert made.body["tools"] == [OTHER]
    assert ("format" in made.body) is (forced is not None)
    assert (made.dropped, made.forced) == (frozenset(), forced)


def test_no_tools_are_offered_when_none_may_be_called() -> None:
    made = chat(tools=[TOOL], tool_choice="none", parallel_tool_calls=False)
    assert (made.body, made.dropped) == (BASE, frozenset())


def test_a_tool_keeps_every_nested_key_in_order() -> None:
    schema = (
        '{"type":"object","properties":{"zebra":{"type":"object","properties":{"in":{"anyOf":[{"type":"string"},'
        '{"$ref":"#/$defs/x"}],"default":1.0,"minimum":123456789012345678901234567890}},"required":["in"],'
        '"additionalProperties":false},"apfel":{"enum":["ü",null]}},"required":["zebra"],"$defs":{"x":{}}}'
    )
    tools = f'[{{"type":"function","function":{{"name":"f","parameters":{schema},"strict":true}},"x-own":1}}]'
    raw = f'{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":{tools}}}'
    made = chat_request(validate(models.CreateChatCompletionRequest, parse_json(raw.encode())), {})
    sent = to_json(made.body).decode()
    assert schema in sent
    assert json.loads(sent)["tools"] == json.loads(tools)


def test_a_tool_without_parameters_takes_none() -> None:
    made = chat(tools=[{"type": "function", "function": {"name": "f"}}])
    assert made.body["tools"] == [TOOL]


def test_ollamas_own_fields_go_in_beside_the_contracts() -> None:
    made = chat(keep_alive="5m", options={"num_ctx": 9}, temperature=0.5, truncate=False, think=True, zz=None)
    assert made.body == BASE | {
        "keep_alive": "5m",
        "options": {"num_ctx": 9, "temperature": 0.5},
        "truncate": False,
        "think": True,
    }
    assert complete(template="t", format="json").body == {
        "model": "m",
        "prompt": "p",
        "raw": True,
        "stream": False,
        "template": "t",
        "format": "json",
    }


# -- messages --


def said(*messages: dict[str, Any], images: Mapping[str, str] | None = None) -> Any:
    return chat(images or {}, messages=list(messages)).body["messages"]


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def called(arguments: str, **more: Any) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call], **more}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"role": "system", "content": "s"}, {"role": "system", "content": "s"}),
        ({"role": "developer", "content": "d"}, {"role": "system", "content": "d"}),
        ({"role": "system", "content": [{"type": "text", "text": "s"}]}, {"role": "system", "content": "s"}),
        ({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "a"}),
        ({"role": "assistant", "content": None, "refusal": "no"}, {"role": "assistant", "content": "no"}),
        ({"role": "assistant", "content": "a", "refusal": "no"}, {"role": "assistant", "content": "a\nno"}),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "assistant", "content": "no"},
        ),
        (
            {"role": "assistant", "content": "a", "reasoning_content": "hm"},
            {"role": "assistant", "content": "a", "thinking": "hm"},
        ),
        (
            {"role": "assistant", "content": "a", "reasoning": "hm"},
            {"role": "assistant", "content": "a", "thinking": "hm"},
        ),
        ({"role": "tool", "content": "r", "tool_call_id": "x"}, {"role": "tool", "content": "r", "tool_call_id": "x"}),
        (
            {"role": "tool", "content": [{"type": "text", "text": "r"}], "tool_call_id": "x"},
            {"role": "tool", "content": "r", "tool_call_id": "x"},
        ),
        ({"role": "function", "content": None, "name": "f"}, {"role": "tool", "content": "", "tool_name": "f"}),
        (
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"index": 0, "name": "f", "arguments": {"a": 1}}}],
            },
        ),
        (
            user({"type": "text", "text": "a"}, image(f"data:image/png;base64,{PNG}"), {"type": "text", "text": "b"}),
            {"role": "user", "content": "a\nb", "images": [PNG]},
        ),
        (user(image(PNG)), {"role": "user", "content": "", "images": [PNG]}),
        (user(image(f"data:;base64,{PNG}")), {"role": "user", "content": "", "images": [PNG]}),
    ],
)
def test_a_message_arrives_in_ollamas_terms(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert said(given) == [expected]


def test_a_result_is_sent_with_the_calls_id_and_the_tools_name() -> None:
    result = {"role": "tool", "content": "r", "tool_call_id": "call_1"}
    sent = said(*HELLO, called('{"ä":1.0,"a":123456789012345678901}'), result)
    assert sent[1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call_1",
                    "function": {"index": 0, "name": "f", "arguments": {"ä": 1.0, "a": 123456789012345678901}},
                }
            ],
        },
        {"role": "tool", "content": "r", "tool_name": "f", "tool_call_id": "call_1"},
    ]


def test_no_arguments_are_an_empty_object() -> None:
    assert said(called(""))[0]["tool_calls"][0]["function"]["arguments"] == {}


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", '"x"', "1", '{"a":NaN}', '{"a":1e999}'])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        said(*HELLO, called(arguments))
    assert refusal.value.param == "messages[1].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "messages[0].content[0].type"),
        (user({"type": "text", "text": ""}, {"type": "file", "file": {}}), "messages[0].content[1].type"),
        (user(image("https://example.org/a.png")), "messages[0].content[0].image_url.url"),
        (user(image("HTTP://example.org/a.png")), "messages[0].content[0].image_url.url"),
        (user(image("ftp://example.org/a.png")), "messages[0].content[0].image_url.url"),
        (user(image("data:image/png,plain")), "messages[0].content[0].image_url.url"),
        (user(image(f"data:text/html;base64,{PNG}")), "messages[0].content[0].image_url.url"),
        (user(image("no base64")), "messages[0].content[0].image_url.url"),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, "messages[0].audio"),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "c", "input": ""}}],
            },
            "messages[0].tool_calls[0].type",
        ),
    ],
)
def test_a_part_that_cannot_be_sent_is_refused(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        said(message)
    assert refusal.value.param == param


def test_a_fetched_image_takes_the_place_of_its_url() -> None:
    url = "https://example.org/a.png"
    message = user({"type": "text", "text": "x"}, image(url))
    body = validate(models.CreateChatCompletionRequest, {"model": "m", "messages": [*HELLO, message]})
    assert list(image_urls(body.messages)) == [("messages[1].content[1].image_url.url", url)]
    assert said(message, images={url: PNG}) == [{"role": "user", "content": "x", "images": [PNG]}]


# -- replies --


def reply(**fields: Any) -> Reply:
    return read(Reply, {"model": "m", "created_at": AT, "done": True, "done_reason": "stop", **fields})


def test_a_chat_reply_says_who_answered_and_when() -> None:
    made = chat_response(
        reply(message={"role": "assistant", "content": "Hi"}, prompt_eval_count=7, eval_count=4), ASKED
    )
    assert json.loads(made.model_dump_json(exclude_unset=True)) == {
        "id": "chatcmpl-req-1",
        "object": "chat.completion",
        "created": 1_772_366_400,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11},
    }


def test_what_ollama_leaves_out_is_known_or_zero() -> None:
    made = chat_response(read(Reply, {"message": {}}), ASKED)
    assert (made.model, made.created, made.choices[0].message.content) == ("asked-model", ASKED.now, "")
    assert made.model_dump()["usage"]["total_tokens"] == 0


@pytest.mark.parametrize(
    ("reason", "calls", "finish"),
    [
        ("stop", False, "stop"),
        ("length", False, "length"),
        ("load", False, "stop"),
        ("unload", False, "stop"),
        (None, False, "stop"),
        ("", False, "stop"),
        ("content_filter", True, "content_filter"),
        ("stop", True, "tool_calls"),
        ("length", True, "length"),
    ],
)
def test_the_reason_to_end_is_openais(reason: str | None, calls: bool, finish: str) -> None:
    message: dict[str, Any] = {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}] * calls}
    assert chat_response(reply(message=message, done_reason=reason), ASKED).choices[0].finish_reason == finish


def test_no_reason_to_end_is_made_up() -> None:
    odd = reply(message={"content": "x"}, response="x", done_reason="whatever")
    for translate in (chat_response, completion_response):
        with pytest.raises(UpstreamInvalidResponse):
            translate(odd, ASKED)


def test_calls_keep_their_ids_or_get_one_that_stays_the_same() -> None:
    calls = [{"function": {"name": "f", "arguments": {"ü": [1.0, 2**70]}}}, {"id": "own", "function": {"name": "g"}}]
    one, two = (
        chat_response(reply(message={"content": "", "tool_calls": calls}), ASKED).choices[0].message for _ in range(2)
    )
    assert one == two
    first, second = one.model_dump()["tool_calls"]
    assert (
        first["id"]
        != chat_response(reply(message={"tool_calls": calls}), RequestContext("m", "req-2", 0))
        .choices[0]
        .message.model_dump()["tool_calls"][0]["id"]
    )
    assert first["function"]["arguments"] == '{"ü":[1.0,1180591620717411303424]}'
    assert (second["id"], second["function"]["arguments"], one.content) == ("own", "{}", None)


def test_thoughts_and_images_of_an_answer_are_kept() -> None:
    made = chat_response(reply(message={"content": "x", "thinking": "hm", "images": [PNG]}), ASKED)
    sent = json.loads(made.model_dump_json(exclude_unset=True))["choices"][0]["message"]
    assert (sent["reasoning_content"], sent["images"]) == ("hm", [PNG])


LOGPROBS = [
    {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [{"token": "Hi", "logprob": -0.5}]},
    {"token": "!", "logprob": -1.5},
]


def test_log_probabilities_of_chat() -> None:
    made = chat_response(reply(message={"content": "Hi!"}, logprobs=LOGPROBS), ASKED).choices[0].logprobs
    assert made is not None
    assert made.model_dump()["content"] == [
        {**LOGPROBS[0], "top_logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": None}]},
        {"token": "!", "logprob": -1.5, "bytes": None, "top_logprobs": []},
    ]


THOUGHT = [{"token": "h", "logprob": -2}, {"token": "m", "logprob": -2}, {"token": "</think>", "logprob": 0}]


@pytest.mark.parametrize(
    ("tokens", "content", "left"),
    [
        ([*THOUGHT, *LOGPROBS], "Hi!", ["Hi", "!"]),
        ([*THOUGHT, {"token": "\n\n", "logprob": 0}, *LOGPROBS], "Hi!", ["Hi", "!"]),
        ([*THOUGHT, {"token": "\n\nHi", "logprob": 0}, LOGPROBS[1]], "Hi!", ["\n\nHi", "!"]),
        (THOUGHT, "", []),
        ([*THOUGHT, *LOGPROBS, {"token": "<end>", "logprob": 0}], "Hi!", []),
        (LOGPROBS, "Another text", []),
    ],
)
def test_log_probabilities_are_those_of_the_answer_and_not_of_the_thinking(
    tokens: list[dict[str, Any]], content: str, left: list[str]
) -> None:
    chatted = chat_response(reply(message={"content": content, "thinking": "hm"}, logprobs=tokens), ASKED)
    completed = completion_response(reply(response=content, thinking="hm", logprobs=tokens), ASKED)
    found = chatted.choices[0].logprobs
    assert [token.token for token in (found and found.content) or []] == left
    legacy = completed.model_dump()["choices"][0]["logprobs"]
    assert (legacy["tokens"] if legacy else []) == left


def test_log_probabilities_of_a_streamed_thought_are_left_out_as_well() -> None:
    lines: list[dict[str, Any]] = [
        {"message": {"thinking": "hm"}, "response": "", "thinking": "hm", "logprobs": THOUGHT[:2]},
        {"message": {"content": "Hi!"}, "response": "Hi!", "logprobs": LOGPROBS},
        {"done": True, "done_reason": "stop"},
    ]
    mark = {"message": {"content": ""}, "logprobs": THOUGHT[2:]}
    marked = [one["choices"][0]["logprobs"] for one in chunks(mark, lines[0], mark, *lines[1:])]
    assert [[token["token"] for token in tokens["content"]] for tokens in marked if tokens] == [["Hi", "!"]]
    chatted = [(one["choices"][0]["logprobs"] or {}).get("content", []) for one in chunks(*lines)]
    assert [[token["token"] for token in tokens] for tokens in chatted if tokens] == [["Hi", "!"]]
    teller = CompletionStreamTranslator(ASKED, include_usage=False)
    completed = [chunk.model_dump()["choices"][0] for line in lines for chunk in teller.feed(read(Reply, line))]
    assert [one["logprobs"] and one["logprobs"]["tokens"] for one in completed] == [None, ["Hi", "!"], None]


def test_log_probabilities_of_completions() -> None:
    made = completion_response(reply(response="Hi!", logprobs=LOGPROBS), ASKED)
    assert (made.id, made.object, made.choices[0].text) == ("cmpl-req-1", "text_completion", "Hi!")
    assert made.choices[0].model_dump()["logprobs"] == {
        "tokens": ["Hi", "!"],
        "token_logprobs": [-0.5, -1.5],
        "top_logprobs": [{"Hi": -0.5}, {}],
        "text_offset": [0, 2],
    }


@pytest.mark.parametrize("value", [{}, {"done": True}, {"message": {"content": "x"}, "done": False}])
def test_a_reply_without_an_answer_is_invalid(value: dict[str, Any]) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        chat_response(read(Reply, value), ASKED)


@pytest.mark.parametrize("value", [[], 5, None, {"message": "secret-words"}, {"message": {"tool_calls": [{}]}}])
def test_a_reply_of_another_shape_is_invalid_and_not_quoted(value: object) -> None:
    with pytest.raises(UpstreamInvalidResponse) as problem:
        read(Reply, value)
    assert "secret-words" not in f"{problem.value.message} {problem.value.detail}"


def test_vectors_are_numbered_and_counted() -> None:
    made = embedding_response(read(Vectors, {"embeddings": [[1, 0.5], [0.25, 2]], "prompt_eval_count": 3}), ASKED)
    assert made.model_dump() == {
        "object": "list",
        "model": "asked-model",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0, 0.5]},
            {"object": "embedding", "index": 1, "embedding": [0.25, 2.0]},
        ],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


def test_models_have_their_makers_name() -> None:
    listed = [{"name": "a:latest", "modified_at": AT}, {"name": "maker/b"}, {"name": "hf.co/maker/c:q4"}]
    made = model_list(read(ModelList, {"models": listed}))
    assert [(one.id, one.owned_by, one.created) for one in made.data] == [
        ("a:latest", "library", 1_772_366_400),
        ("maker/b", "maker", 0),
        ("hf.co/maker/c:q4", "maker", 0),
    ]
    assert model_list(read(ModelList, {"models": None})).data == []


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-03-01T12:00:00Z", 1_772_366_400),
        ("2026-03-01T12:00:00.1Z", 1_772_366_400),
        ("2026-03-01T13:00:00.123456789+01:00", 1_772_366_400),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read_as_go_writes_them(moment: str | None, expected: int | None) -> None:
    assert seconds(moment) == expected


# -- streams --


def chunks(*lines: dict[str, Any], usage: bool = False) -> list[dict[str, Any]]:
    teller = ChatStreamTranslator(ASKED, include_usage=usage)
    made = [chunk for line in lines for chunk in teller.feed(read(Reply, {"model": "m", "created_at": AT, **line}))]
    assert teller.done
    return [json.loads(chunk.model_dump_json(exclude_unset=True)) for chunk in made]


def test_a_stream_is_told_in_openais_order() -> None:
    made = chunks(
        {"message": {"content": "", "thinking": "h"}},
        {"message": {"content": "Hi"}, "logprobs": LOGPROBS[:1]},
        {"message": {"content": ""}, "logprobs": LOGPROBS[1:]},
        {"message": {"content": "!"}},
        {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 2, "eval_count": 1},
        usage=True,
    )
    assert [one["choices"][0]["delta"] for one in made[:-1]] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"reasoning_content": "h"},
        {"content": "Hi"},
        {"content": "!"},
        {},
    ]
    tokens = [len((one["choices"][0]["logprobs"] or {}).get("content", [])) for one in made[:-1]]
    assert tokens == [0, 0, 1, 1, 0]
    assert [one["choices"][0]["finish_reason"] for one in made[:-1]] == [None] * 4 + ["stop"]
    assert made[-1]["choices"] == []
    assert made[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    assert {(one["id"], one["created"], one["model"]) for one in made} == {("chatcmpl-req-1", 1_772_366_400, "m")}


def test_calls_in_several_lines_are_numbered_on() -> None:
    call = {"function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    made = chunks({"message": {"tool_calls": [call, call]}}, {"message": {"tool_calls": [call]}}, {"done": True})
    assert made[0]["choices"][0]["delta"] == {"role": "assistant", "content": None, "refusal": None}
    calls = [call for one in made for call in one["choices"][0]["delta"].get("tool_calls", [])]
    assert [call["index"] for call in calls] == [0, 1, 2]
    assert len({call["id"] for call in calls}) == 3
    assert made[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_line_that_is_no_answer_is_invalid() -> None:
    with pytest.raises(UpstreamInvalidResponse):
        list(ChatStreamTranslator(ASKED, include_usage=False).feed(read(Reply, {"status": "pulling"})))
    with pytest.raises(UpstreamInvalidResponse):
        list(CompletionStreamTranslator(ASKED, include_usage=False).feed(read(Reply, {"message": {"content": "x"}})))


@pytest.mark.slow
def test_a_streamed_completion_counts_where_its_text_is() -> None:
    teller = CompletionStreamTranslator(ASKED, include_usage=True)
    lines = [
        {"response": "Hi", "logprobs": LOGPROBS[:1]},
        {"response": "!", "logprobs": LOGPROBS[1:]},
        {"response": "", "done": True, "done_reason": "length", "eval_count": 2},
    ]
    made = [chunk.model_dump(exclude_unset=True) for line in lines for chunk in teller.feed(read(Reply, line))]
    assert [one["choices"][0]["text"] for one in made[:-1]] == ["Hi", "!", ""]
    assert [(one["choices"][0]["logprobs"] or {}).get("text_offset") for one in made[:-1]] == [[0], [2], None]
    assert made[-2]["choices"][0]["finish_reason"] == "length"
    assert (made[-1]["choices"], made[-1]["usage"]["total_tokens"]) == ([], 2)
