"""What rounds say is one message: texts, the places that annotations name in them, and log probabilities."""

from typing import Any

import pytest

from tests.support.gateway import LiveGateway
from tests.tools.asking import asked, message_of
from tests.tools.scripted import Says, search

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


def test_log_probabilities_are_of_the_joined_text(tooled: LiveGateway) -> None:
    rounds = Says("One ", (search(),), logprobs=True), Says("two.", logprobs=True)
    reply = asked(tooled, "probable", *rounds, logprobs=True)
    tokens = [one["token"] for one in reply["choices"][0]["logprobs"]["content"]]
    assert tokens == ["One ", "two."]
