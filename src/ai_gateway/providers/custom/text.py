"""The built-in provider's text: sentences generated from a seed, and a simple token estimate."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ai_gateway.providers.custom.dice import Dice

_TOKEN = re.compile(r" ?\w{1,6}|[^\w\s]|\s+")
"""Up to six letters of a word with a leading space; one punctuation mark; or a run of white space."""

_BEFORE_VOWEL = re.compile(r"\b([Aa])(?= [aeiou])")
_QUOTED_CHARACTERS = 60
INTRODUCTION = "This is the gateway's built-in test double, without a model."
"""The start of a conversation's first answer, so that users do not take the text for a model's."""

_OPENINGS = (
    'You said "{}", and that is a fair place to start.',
    'Regarding "{}", here is a steady answer.',
    'About "{}" there is something to report.',
    'As for "{}", the short answer follows.',
    '"{}" deserves a careful reply.',
)
_SUBJECTS = (
    "lantern", "harbour", "engine", "orchard", "compass", "library", "river", "signal", "bridge", "garden", "clock",
    "valley", "workshop", "archive", "kettle", "meadow", "mirror", "tower", "anchor", "market", "window", "letter",
)  # fmt: skip
_QUALITIES = (
    "quiet", "amber", "patient", "early", "narrow", "bright", "hidden", "gentle", "northern", "simple", "curious",
    "steady", "silver", "distant", "careful", "open", "wooden", "bold", "morning", "faithful", "green", "tidy",
)  # fmt: skip
_ACTIONS = (
    "follows", "answers", "carries", "measures", "remembers", "guards", "mends", "crosses", "lights", "welcomes",
    "describes", "borrows", "outlasts", "repeats", "gathers", "explains", "visits", "keeps", "balances", "finds",
)  # fmt: skip
_TAILS = (
    "at dusk", "without hurry", "for a reason", "in plain sight", "before the rain", "as agreed", "every second day",
    "by hand", "when asked", "with some care", "after all", "near the old road", "in its own time", "once more",
)  # fmt: skip
_SHORT_SHAPES = (
    "The {q1} {s1} {a1} the {q2} {s2}.",
    "A {s1} {a1} every {q1} {s2} {t1}.",
    "Only the {s1} {a1} it {t1}.",
)
_SHAPES = (
    *_SHORT_SHAPES,
    "When the {q1} {s1} {a1} the {s2}, a {q2} {s3} {a2} the rest {t1}.",
    "{T1}, one {q1} {s1} {a1} another {s2}.",
    "No {s1} {a1} a {q1} {s2} {t1}, but the {s3} {a2} it {t2}.",
)

WORDS: Sequence[str] = (*_QUALITIES, *_SUBJECTS, *_ACTIONS)


def tokens(text: str) -> list[str]:
    """The estimated tokens; joined, they are the text again."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """The estimated number of tokens. They are not kept: a long text has millions."""
    return sum(1 for _ in _TOKEN.finditer(text))


def reply(seed: str, user_text: str, *, introduced: bool) -> str:
    """Two to five sentences that depend on the seed; the first quotes the user's text, behind the introduction."""
    dice = Dice(seed)
    sentences = [_sentence(dice, _SHAPES) for _ in range(2 + dice.below(3))]
    quoted = " ".join(user_text[: 4 * _QUOTED_CHARACTERS].split())[:_QUOTED_CHARACTERS].rstrip()
    if quoted:
        sentences.insert(0, dice.pick(_OPENINGS).format(quoted))
    if not introduced:
        sentences.insert(0, INTRODUCTION)
    return " ".join(sentences)


def continuation(seed: str) -> str:
    """One sentence to follow a prompt; it fits the default `max_tokens` of 16."""
    return " " + _sentence(Dice(seed), _SHORT_SHAPES)


@dataclass(frozen=True, slots=True)
class Cut:
    """The remaining tokens of a text, its finish reason, and the stop string that it ended at."""

    tokens: Sequence[str]
    finish_reason: Literal["stop", "length"]
    stopped_by: str | None = None


def cut(text: str, stop: str | Sequence[str] | None, limit: int | None) -> Cut:
    """Truncate the text before the first stop string or after `limit` tokens, whichever comes first."""
    stops = [stop] if isinstance(stop, str) else stop or []
    ends = [(end, one) for one in stops if one and (end := text.find(one)) >= 0]
    end, stopped_by = min(ends, default=(len(text), None))
    pieces = tokens(text[:end])
    if limit is None or len(pieces) <= max(limit, 0):
        return Cut(pieces, "stop", stopped_by)
    return Cut(pieces[: max(limit, 0)], "length")


def phrase(dice: Dice) -> str:
    """An adjective and a noun, for a string without further constraints."""
    return f"{dice.pick(_QUALITIES)} {dice.pick(_SUBJECTS)}"


def _sentence(dice: Dice, shapes: Sequence[str]) -> str:
    tail = dice.pick(_TAILS)
    sentence = dice.pick(shapes).format(
        q1=dice.pick(_QUALITIES),
        q2=dice.pick(_QUALITIES),
        s1=dice.pick(_SUBJECTS),
        s2=dice.pick(_SUBJECTS),
        s3=dice.pick(_SUBJECTS),
        a1=dice.pick(_ACTIONS),
        a2=dice.pick(_ACTIONS),
        t1=tail,
        t2=dice.pick(_TAILS),
        T1=tail.capitalize(),
    )
    return _BEFORE_VOWEL.sub(r"\1n", sentence)
