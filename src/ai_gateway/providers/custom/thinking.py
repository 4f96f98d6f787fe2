"""What the built-in provider thinks before it answers, where it is asked to: a sentence, signed as others do."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from ai_gateway.providers.custom import text
from ai_gateway.providers.custom.dice import fingerprint
from gateway_contract.openai import models


@dataclass(frozen=True, slots=True)
class Thought:
    """Its tokens, and what its provider would know it by."""

    tokens: Sequence[str]
    signature: str

    @property
    def fields(self) -> dict[str, object]:
        """The signed block, under the name that Anthropic's thinking has in chats."""
        block = {"type": "thinking", "thinking": "".join(self.tokens), "signature": self.signature}
        return {"thinking_blocks": [block]}


def thought(body: models.CreateChatCompletionRequest, seed: str) -> Thought | None:
    """What is thought for a choice; nothing unless an effort is asked for."""
    if body.reasoning_effort in {None, "none"}:
        return None
    words = "Let me think about it." + text.continuation(f"{seed}/thought")
    signature = base64.b64encode(fingerprint(seed, words).encode()).decode()
    return Thought(text.tokens(words), signature)
