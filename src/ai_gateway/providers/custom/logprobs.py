"""Synthetic log probabilities: a function of seed and position, with a total probability below 1."""

from dataclasses import dataclass

from ai_gateway.providers.custom import text
from ai_gateway.providers.custom.dice import Dice


@dataclass(frozen=True, slots=True)
class Candidate:
    token: str
    logprob: float


def candidates(token: str, count: int, seed: str) -> list[Candidate]:
    """The chosen token, then less likely alternatives: `count` in all."""
    dice = Dice(seed)
    chosen = Candidate(token, -0.12 - dice.below(48) / 100)  # at most 0.89, and all the others at most 0.1
    others = [word for word in dice.shuffled(text.WORDS) if f" {word}" != token][: max(count - 1, 0)]
    return [
        chosen,
        *(Candidate(f" {word}", -3 - 0.75 * place - dice.below(25) / 100) for place, word in enumerate(others)),
    ]
