"""Whatever a client may say in OpenAI's terms: a clear 400, or a request that the Messages API takes."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ai_gateway.contract.body import validate
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.errors import InvalidRequest
from ai_gateway.providers.anthropic.policies import POLICIES
from ai_gateway.providers.parameters import Parameters
from ai_gateway.translate.chat_anthropic.request import to_messages
from gateway_contract.openai import models
from tests.support.fake_anthropic import fault_in

pytestmark = pytest.mark.slow

SAID = st.sampled_from(["", " ", "\n", "Hello", "Grüße 🙂", "x ", " y", "{}"])
IDS = st.sampled_from(["call_1", "call_2", "a.b", "", "ä"])
NAMES = st.sampled_from(["zebra"] * 5 + ["apfel"] * 4 + ["a.b", ""])
IMAGES = ["https://example.com/a.png", "data:image/png;base64,QQ=="] * 4
URLS = st.sampled_from([*IMAGES, "data:image/bmp;base64,QQ==", "data:,x", "file:///x"])
PAPERS = st.sampled_from(["data:application/pdf;base64,QQ==", "data:text/plain;base64,QQ=="] * 4 + ["QQ=="])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


TEXT_PART = st.fixed_dictionaries({"type": st.just("text"), "text": SAID})
REFUSAL = st.fixed_dictionaries({"type": st.just("refusal"), "refusal": SAID})
IMAGE = st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": URLS})})
FILE = st.fixed_dictionaries(
    {"type": st.just("file"), "file": st.fixed_dictionaries({"file_data": PAPERS}, optional={"filename": SAID})}
)
CALL: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "id": IDS,
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": NAMES, "arguments": st.sampled_from(["", "{}", '{"a":1}'] * 4 + ["{"])}
        ),
    }
)
CALLS: st.SearchStrategy[Any] = st.lists(CALL, max_size=2, unique_by=lambda call: str(call["id"]))


def parts(*kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return SAID | st.lists(st.one_of(*kinds), min_size=1, max_size=3)


MESSAGE = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer"]), "content": parts(TEXT_PART)}),
    st.fixed_dictionaries({"role": st.just("user"), "content": parts(TEXT_PART, IMAGE, FILE)}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none() | parts(TEXT_PART, REFUSAL)},
        optional={"refusal": SAID, "tool_calls": CALLS},
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": IDS, "content": parts(TEXT_PART)}),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages of any kind in any order; most often, calls get their results."""
    answered = draw(st.sampled_from([True] * 5 + [False]))
    found: list[dict[str, Any]] = [{"role": "user", "content": "go"}] if answered else []
    for message in draw(st.lists(MESSAGE, min_size=2, max_size=7)):
        if answered and message["role"] == "tool":
            continue
        found.append(message)
        if answered:
            found += [
                {"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in message.get("tool_calls", ())
            ]
    return found or [{"role": "user", "content": "x"}]


TOOL: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": NAMES},
            optional={
                "description": SAID,
                "strict": st.booleans(),
                "parameters": st.sampled_from(
                    [*[{}, {"type": "object"}, {"properties": {"a": {}}}] * 3, {"type": "string"}]
                ),
            },
        ),
    }
)
CHOICE = st.one_of(
    st.sampled_from(["auto", "none", "required"]),
    NAMES.map(lambda name: {"type": "function", "function": {"name": name}}),
    st.lists(NAMES, max_size=2).map(
        lambda names: {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": name}} for name in names],
            },
        }
    ),
)
FIELDS = some(
    tools=st.lists(TOOL, max_size=3, unique_by=lambda tool: str(tool["function"]["name"])) | st.lists(TOOL, max_size=2),
    tool_choice=CHOICE,
    parallel_tool_calls=st.booleans(),
    max_tokens=st.sampled_from([0, 1, 1024, *[1025, 5000, 20000] * 4]),
    temperature=st.sampled_from([*[0, 0.5, 1] * 4, 1.5]),
    top_p=st.sampled_from([0, 0.5, 0.99, 1]),
    stop=SAID | st.lists(SAID, min_size=1, max_size=4),
    stream=st.booleans(),
    user=SAID,
    safety_identifier=SAID,
    service_tier=st.sampled_from(["auto", "default", "flex", "scale", "priority", "fast"]),
    reasoning_effort=st.sampled_from(["none", "default", "minimal", "low", "medium", "high", "xhigh", "max"]),
    n=st.sampled_from([1] * 9 + [2]),
    logprobs=st.sampled_from([False] * 9 + [True]),
    seed=st.integers(0, 9),
    response_format=st.sampled_from(
        [
            {"type": "text"},
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        ]
    ),
)
MODELS = st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-8", "claude-3-7-sonnet-20250219"])
RELAXED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RELAXED
@given(model=MODELS, messages=conversations(), fields=FIELDS)
def test_a_request_is_a_clear_400_or_one_that_the_api_takes(
    model: str, messages: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    body = validate(models.CreateChatCompletionRequest, {"model": model, "messages": messages, **fields})
    refusal: InvalidRequest | None = None
    sent: dict[str, object] = {}
    try:
        Parameters("anthropic", POLICIES, "drop").apply(
            Attempt(Call(operation="createChatCompletion", request_id="r")), body
        )
        sent = to_messages(body).body
    except InvalidRequest as error:
        refusal = error
    if refusal is not None:
        assert refusal.param
        assert refusal.code
    else:
        assert fault_in(sent) is None, json.dumps(sent)


@RELAXED
@given(messages=conversations())
def test_every_word_and_every_call_arrives_in_order(messages: list[dict[str, Any]]) -> None:
    body = validate(models.CreateChatCompletionRequest, {"model": "claude-x", "messages": messages})
    try:
        request = to_messages(body)
    except InvalidRequest:
        return
    system = request.body.get("system")
    turns = request.body["messages"]
    assert isinstance(turns, list)
    blocks = [*(system if isinstance(system, list) else []), *(block for turn in turns for block in turn["content"])]
    reported = iter([block["text"] for block in blocks if block["type"] == "text"])
    for word in _words(messages):
        assert any(word.rstrip() in one for one in reported), word
    names = [call["function"]["name"] for message in messages for call in message.get("tool_calls") or ()]
    assert [block["name"] for block in blocks if block["type"] == "tool_use"] == names


def _words(messages: list[dict[str, Any]]) -> list[str]:
    """Everything that is said outside of results and is not white space alone, in order."""
    found: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            continue
        content = message["content"] or []
        said = [{"text": content}] if isinstance(content, str) else content
        found += [part.get("text", part.get("refusal", "")) for part in said]
        found.append(message.get("refusal") or "")
    return [word for word in found if word.strip()]
