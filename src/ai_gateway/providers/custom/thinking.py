"""The built-in provider's reasoning, if requested: a sentence, signed like Anthropic's thinking."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from ai_gateway.providers.custom import text
from ai_gateway.providers.custom.dice import fingerprint
from gateway_contract.openai import models


@dataclass(frozen=True, slots=True)
class Thought:
    """The tokens of a thought, and its signature."""

    tokens: Sequence[str]
    signature: str

    @property
    def fields(self) -> dict[str, object]:
        """The signed block, under the name that Anthropic's thinking has in chats."""
        block = {"type": "thinking", "thinking": "".join(self.tokens), "signature": self.signature}
        return {"thinking_blocks": [block]}


def thought(body: models.CreateChatCompletionRequest, seed: str) -> Thought | None:
    """The thought of a choice; empty unless a reasoning effort is requested."""
    if body.reasoning_effort in {None, "none"}:
        return None
    words = "Let me think about it." + text.continuation(f"{seed}/thought")
    signature = base64.b64encode(fingerprint(seed, words).encode()).decode()
    return Thought(text.tokens(words), signature)
