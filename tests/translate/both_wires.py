"""What OpenAI's wire and Ollama's can both say of an answer, for Hypothesis to draw from, and the ways between them."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import settings, strategies as st
from pydantic import BaseModel

from ai_gateway.contract.write import to_json
from ai_gateway.translate.chat_ollama.reply import RequestContext
from ai_gateway.translate.ollama_chat.timings import Stopwatch
from tests.contract.schemas import validator

type Json = dict[str, Any]

LAW = settings(max_examples=200, deadline=None)
ASKED = RequestContext("asked", "req-1", 1, native=True)
AT = 1_767_225_600

words = st.text(max_size=12)
some_words = st.text(min_size=1, max_size=12)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
counts = st.integers(0, 2**40)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(words, values, max_size=3)
pictures = st.lists(st.sampled_from(["QQ==", "aGVsbG8="]), min_size=1, max_size=2)
calls = st.lists(
    st.fixed_dictionaries({"id": names, "name": names, "arguments": objects}),
    max_size=3,
    unique_by=lambda call: str(call["id"]),
)


def token(text: str, logprob: float, others: list[tuple[str, float]], *, octets: bool) -> Json:
    """A token as both wires say it: in its alternatives and its bytes, too."""

    def one(shown: str, chance: float) -> Json:
        return {"token": shown, "logprob": chance, "bytes": list(shown.encode()) if octets else None}

    return {**one(text, logprob), "top_logprobs": [one(*other) for other in others]}


def tokens(shown: st.SearchStrategy[str]) -> st.SearchStrategy[Json]:
    """Tokens that show such texts."""
    chances = st.floats(-100, 0)
    others = st.lists(st.tuples(words, chances), max_size=2)
    return st.builds(lambda text, chance, more, octets: token(text, chance, more, octets=octets),
                     shown, chances, others, st.booleans())  # fmt: skip


def spelled(found: Sequence[Json]) -> str:
    """The text that tokens show."""
    return "".join(one["token"] for one in found)


def on_ollama(found: Sequence[Json]) -> list[Json]:
    """Tokens as Ollama says them, which leaves out what is null or empty."""
    return [
        {name: [bare(other) for other in value] if name == "top_logprobs" else value
         for name, value in one.items() if value not in (None, [])}
        for one in found
    ]  # fmt: skip


def bare(one: Json) -> Json:
    return {name: value for name, value in one.items() if value is not None}


def watch() -> Stopwatch:
    """A watch on which every look costs a nanosecond, at a fixed time of day."""
    ticks = iter(range(10**9))
    return Stopwatch(lambda: next(ticks), lambda: AT * 10**9)


def written(model: BaseModel) -> Json:
    """A reply as its caller reads it, but for times on OpenAI's wire; the contract holds for every one."""
    found: Json = json.loads(to_json(model))
    validator(type(model).__name__).validate(found)
    found.pop("durations", None)
    return found


def exact(value: object) -> str:
    """A value as text, in which 1, 1.0 and true are not the same; the order of keys is no matter."""
    return json.dumps(value, sort_keys=True, indent=1)
