"""Messages -> chat -> Messages is the identity for what both can say: the two translations are each other's inverse."""

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.providers.anthropic.provider import Anthropic
from ai_gateway.translate.anthropic_chat.ids import ToolNames
from ai_gateway.translate.anthropic_chat.reply import message
from ai_gateway.translate.carriers import fit
from ai_gateway.translate.chat_anthropic.reply import to_chat
from ai_gateway.translate.chat_anthropic.request import to_messages
from ai_gateway.translate.wires.anthropic import Message, read
from gateway_contract.anthropic.models import AnthropicMessage
from gateway_contract.openai.models import CompletionUsage, CreateChatCompletionResponse
from tests.translate.anthropic_chat.asking import CACHED, IMAGE, WEATHER, call, result, text, thought, translated

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(
    lambda words: words.strip() == words
)
TEXTS = st.builds(
    lambda words, cached: text(words, **({"cache_control": CACHED} if cached else {})), WORDS, st.booleans()
)
JSON = st.dictionaries(
    st.sampled_from("abc"), st.one_of(st.none(), st.booleans(), st.integers(-9, 9), WORDS), max_size=3
)
RESULTS = st.one_of(WORDS, st.lists(st.one_of(TEXTS, st.just(IMAGE)), min_size=1, max_size=3))
THOUGHTS = st.lists(
    st.one_of(st.builds(thought, WORDS), st.just({"type": "redacted_thinking", "data": "eA=="})), max_size=2
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns by turns, as the API takes them: results first in the turn after their calls, and in their order."""
    turns: list[dict[str, Any]] = []
    waiting: list[int] = []
    number = 0
    for _ in range(draw(st.integers(0, 3))):
        turns.append({"role": "user", "content": said_by_user(draw, waiting)})
        waiting = list(range(number, number + draw(st.integers(0, 3))))
        number += len(waiting)
        calls: list[Any] = [{**call(at), "input": draw(JSON)} for at in waiting]
        texts = draw(st.lists(TEXTS, min_size=0 if calls else 1, max_size=2))
        turns.append({"role": "assistant", "content": [*draw(THOUGHTS), *texts, *calls]})
    turns.append({"role": "user", "content": said_by_user(draw, waiting)})
    return turns


def said_by_user(draw: st.DrawFn, waiting: list[int]) -> list[dict[str, Any]]:
    results = []
    for number in waiting:
        flags = {"is_error": True} if draw(st.booleans()) else {}
        results.append(result(number, draw(RESULTS), **flags))
    others = draw(st.lists(st.one_of(TEXTS, st.just(IMAGE)), min_size=0 if results else 1, max_size=3))
    return [*results, *others]


CHOICES = st.one_of(
    st.none(),
    st.sampled_from(
        [{"type": "any"}, {"type": "none"}, {"type": "tool", "name": "get_weather"},
         {"type": "auto", "disable_parallel_tool_use": True}]
    ),
)  # fmt: skip
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.just(0.5),
        "stop_sequences": st.lists(WORDS, min_size=1, max_size=2),
        "stream": st.just(True),
        "system": st.lists(TEXTS, min_size=1, max_size=2),
    },
)


@pytest.mark.slow
@given(turns=conversations(), choice=CHOICES, options=OPTIONS)
@settings(max_examples=150, deadline=None)
def test_a_request_comes_back_as_it_was(turns: list[dict[str, Any]], choice: Any, options: dict[str, Any]) -> None:
    body = {
        "model": "m",
        "max_tokens": 64,
        "messages": turns,
        "tools": [{**WEATHER, "description": "It says."}],
        **({"tool_choice": choice} if choice else {}),
        **options,
    }
    made = translated(*turns, **{name: value for name, value in body.items() if name != "messages"})
    assert made.dropped == []
    fitted, lost = fit(made.request, Anthropic.carriers, "anthropic")
    back = to_messages(fitted)
    assert (lost, back.dropped) == (set(), [])
    assert back.body == body


USAGE = {
    "input_tokens": 7,
    "output_tokens": 5,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 2,
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
    "inference_geo": None,
    "output_tokens_details": {"thinking_tokens": 2},
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    "service_tier": "standard",
}
ENDS = st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal", "stop_sequence"])


@given(
    thoughts=THOUGHTS,
    words=st.one_of(st.just([]), WORDS.map(lambda each: [text(each, citations=[])])),
    values=st.lists(JSON, max_size=3),
    end=ENDS,
)
@settings(max_examples=150, deadline=None)
def test_a_reply_comes_back_as_it_was(
    thoughts: list[Any], words: list[Any], values: list[dict[str, Any]], end: str
) -> None:
    calls = [{**call(at), "input": value, "caller": {"type": "direct"}} for at, value in enumerate(values)]
    end = "tool_use" if calls and end in {"end_turn", "stop_sequence"} else end
    end = "end_turn" if end == "tool_use" and not calls else end
    reported = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-5",
        "content": [*thoughts, *words, *calls],
        "stop_reason": end,
        "stop_sequence": "END" if end == "stop_sequence" else None,
        "stop_details": {"type": "refusal", "category": "bio", "explanation": "No."} if end == "refusal" else None,
        "container": None,
        "usage": USAGE,
    }
    assert AnthropicMessage.model_validate(reported, strict=True)
    chat = to_chat(read("anthropic", Message, reported), 1)
    reply = CreateChatCompletionResponse.model_validate(chat)
    assert isinstance(reply.usage, CompletionUsage)
    back = message(reply, reply.usage, ToolNames(), provider="anthropic").model_dump(by_alias=True, exclude_unset=True)
    if end == "refusal":  # the words of a refusal are a text as well with OpenAI
        back["content"] = [block for block in back["content"] if block.get("text") != "No."]
    assert back == reported
