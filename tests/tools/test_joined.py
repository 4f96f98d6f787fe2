"""What rounds say is one message: texts, the places that annotations name in them, and log probabilities."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.client import post
from tests.support.gateway import ONE_ATTEMPT, LiveGateway, SharedGateways
from tests.support.upstream import Upstream
from tests.tools.asking import SEARCH, asked, message_of
from tests.tools.scripted import SCRIPTS, Says, search

pytestmark = pytest.mark.live

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
FIRST, SECOND, LAST = "Größer 🍵 [a]. ", "Then [b]. ", "So [c] and [1]."


def cites(text: str, mark: str) -> dict[str, Any]:
    """What an upstream that searches by itself says of a mark in the text of its own round."""
    start = text.index(mark)
    cited = {
        "start_index": start,
        "end_index": start + len(mark),
        "url": f"https://up.example/{mark[1]}",
        "title": mark,
    }
    return {"annotations": [{"type": "url_citation", "url_citation": cited}]}


@BOTH
def test_annotations_of_every_round_have_their_places_in_the_joined_text(tooled: LiveGateway, stream: bool) -> None:
    rounds = (
        Says(FIRST, (search(),), extras=cites(FIRST, "[a]")),
        Says(SECOND, (search("b"),), extras=cites(SECOND, "[b]")),
        Says(LAST, extras=cites(LAST, "[c]")),
    )
    message = message_of(asked(tooled, f"cites-{stream}", *rounds, stream=stream))
    assert message["content"] == FIRST + SECOND + LAST
    places = [one["url_citation"] for one in message["annotations"]]
    marks = [message["content"][place["start_index"] : place["end_index"]] for place in places]
    assert marks == ["[a]", "[b]", "[c]", "[1]"]
    assert [place["url"][:19] for place in places[:3]] == ["https://up.example/"] * 3
    assert places[0]["title"] == "[a]"


@BOTH
def test_an_annotation_that_names_no_place_goes_on_as_it_is(tooled: LiveGateway, stream: bool) -> None:
    odd = {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}]}
    rounds = Says(FIRST, (search(),)), Says(LAST, extras=odd)
    message = message_of(asked(tooled, f"placeless-{stream}", *rounds, stream=stream))
    assert message["content"] == FIRST + LAST


@BOTH
def test_a_refusal_before_a_call_is_kept(tooled: LiveGateway, stream: bool) -> None:
    rounds = Says(calls=(search(),), extras={"refusal": "Not that. "}), Says("This.", extras={"refusal": "Nor that."})
    message = message_of(asked(tooled, f"refuses-{stream}", *rounds, stream=stream))
    assert (message["refusal"], message["content"]) == ("Not that. Nor that.", "This.")


@pytest.mark.parametrize("reported", [(True, True), (True, False), (False, True)], ids=["all", "first", "last"])
def test_log_probabilities_of_every_round_that_tells_them_are_kept(
    tooled: LiveGateway, reported: tuple[bool, bool]
) -> None:
    texts = "One ", "two."
    rounds = Says(texts[0], (search(),), logprobs=reported[0]), Says(texts[1], logprobs=reported[1])
    reply = asked(tooled, f"probable-{reported}", *rounds, logprobs=True)
    tokens = [one["token"] for one in reply["choices"][0]["logprobs"]["content"]]
    assert tokens == [text for text, is_told in zip(texts, reported, strict=True) if is_told]
    assert message_of(reply)["content"] == "One two."
    assert len(message_of(reply)["gateway_tool_calls"]) == 1


ODD: tuple[dict[str, Any], ...] = (
    {"refusal": 3}, {"role": "robot"}, {"annotations": [{"x": 1}]}, {"annotations": 5}, {"content": ["a"]},
    {"tool_calls": "none"}, {"logprobs": 1},
)  # fmt: skip


@BOTH
@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("at", [0, 1], ids=["first", "last"])
def test_an_upstream_that_is_only_observed_may_say_anything_in_any_round(
    gateway_for: SharedGateways, model: Upstream, odd: dict[str, Any], at: int, stream: bool
) -> None:
    live = gateway_for(PROVIDER_LAB_BASE_URL=model.url, TOOL_WEB_SEARCH="custom", CONFORMANCE="observe", **ONE_ATTEMPT)
    rounds = [Says("a ", (search(),)), Says("b")]
    rounds[at] = replace(rounds[at], extras=odd)
    SCRIPTS["observed"] = rounds
    body = {"model": "observed", "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH], "stream": stream}
    reply = post(live, "/lab/v1/chat/completions", body)
    assert reply.status_code == 200, reply.text
    assert "internal_error" not in reply.text
    assert reply.text.endswith("data: [DONE]\n\n") or not stream
