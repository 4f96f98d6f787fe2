"""Whole replies recognised by their bytes, against the same replies validated.

Each example is one upstream, made from its seed: its own way to write replies, and what differs in them, some of them
spoilt in their bytes. Whatever is recognised has to be what would have been relayed, with the same tokens counted. A
failure names its seed.
"""

import json
import sys
from random import Random
from typing import Any

import pytest
from pydantic_core import from_json

from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.known_replies import Forms
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.contract.stream import Item
from ai_gateway.contract.strict_json import may_be_refused, read_json
from ai_gateway.contract.write import encoded
from ai_gateway.gateway import _conformed
from ai_gateway.operations import CHAT, COMPLETION
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from gateway_contract.openai import models
from tests.fuzz.examples import EXAMPLES
from tests.fuzz.test_continuations import PIECES, SCRAPS

pytestmark = pytest.mark.slow
ASKED = {
    True: models.CreateChatCompletionRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": ""}]}
    ),
    False: models.CreateCompletionRequest.model_validate({"model": "m", "prompt": ""}),
}
NUMBERS = [0, 1, 7, 40, 10**14, 10**15 - 1, 10**15, 2**53 - 1, 2**53, -1, 1.0, 1.5, True, None, "1"]


class Upstream:
    """One upstream's way to write replies."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = Random(seed)
        self.chat = dice.random() < 0.8
        self._separators = dice.choice([(",", ":"), (", ", ": ")])
        self._indent = dice.choice([None, None, None, 1])
        self._ascii = dice.random() < 0.5
        self._choices = dice.choice([1, 1, 1, 2])
        self._calls = dice.choice([0, 0, 0, 1, 2])
        self._odd = dice.choice([0, 0, 0, 0.1])
        details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}
        self._usage = dice.choice([{}, details, {"prompt_cache_hit_tokens": 1, "prompt_cache_miss_tokens": 2}, None])
        self._extra: dict[str, Any] = dice.choice(
            [
                *({}, {"service_tier": "default"}, {"system_fingerprint": "fp"}, {"x_groq": {"id": "req"}}),
                *({"own": [{"id": "a", "content": "b"}]}, {"created_at": 1}, {"text": "top"}),
            ]
        )

    def reply(self) -> bytes:
        """One reply, which is mostly legal."""
        dice = self.dice
        object_name = "chat.completion" if self.chat else "text_completion"
        value: dict[str, Any] = {
            "id": self._text(),
            "object": object_name,
            "created": self._number(),
            "model": self._text(),
            "choices": [self._choice(at) for at in range(self._choices)],
            **json.loads(json.dumps(self._extra)),
        }
        if self._usage is not None:
            counts = {name: self._number() for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
            value["usage"] = {**counts, **self._counted(self._usage)}
        text = json.dumps(value, ensure_ascii=self._ascii, separators=self._separators, indent=self._indent)
        raw = text.encode("utf-8", "surrogatepass")
        if dice.random() < 0.05:
            raw = raw.replace(b'"id"', dice.choice([b'"id":"twice","id"', b'"\\u0069d":"x","id"', b'"i"']), 1)
        return self._spoilt(raw) if dice.random() < 0.15 else raw

    def _choice(self, at: int) -> dict[str, Any]:
        finish = self.dice.choice(["stop"] * 9 + ["length", "eos", "tool_calls"])
        if not self.chat:
            return {"index": at, "text": self._text(), "logprobs": None, "finish_reason": finish}
        message: dict[str, Any] = {"role": "assistant", "content": self._text(), "refusal": None}
        if self._calls:
            function = {"name": "f", "arguments": self._text()}
            calls = [{"id": self._text(), "type": "function", "function": function} for _ in range(self._calls)]
            message |= {"content": None, "tool_calls": calls}
        return {"index": at, "message": message, "logprobs": None, "finish_reason": finish}

    def _counted(self, value: object) -> Any:
        if isinstance(value, dict):
            return {name: self._counted(inner) for name, inner in value.items()}
        return self._number()

    def _text(self) -> str:
        return "".join(self.dice.choice(PIECES) for _ in range(self.dice.randrange(4)))

    def _number(self) -> Any:
        return self.dice.choice(NUMBERS) if self.dice.random() < self._odd else self.dice.choice(NUMBERS[:6])

    def _spoilt(self, raw: bytes) -> bytes:
        at, scrap = self.dice.randrange(len(raw)), self.dice.choice(SCRAPS)
        return raw[:at] + scrap + raw[at + self.dice.randrange(3) :]


def validated(chat: bool, raw: bytes, notes: Notes) -> Item[Any]:
    operation: Any = CHAT if chat else COMPLETION
    conformer = Conformer(Provider("lab", SAME_WIRE), Attempt(Call("any", "r"), notes), "m")
    return _conformed(operation, ASKED[chat], raw, conformer)


def test_what_is_recognised_is_what_would_have_been_relayed() -> None:
    replies = recognised = 0
    for seed in range(EXAMPLES):
        upstream = Upstream(seed)
        kind = models.CreateChatCompletionResponse if upstream.chat else models.CreateCompletionResponse
        forms: Forms[Any] = Forms(kind)
        for _ in range(20):
            raw = upstream.reply()
            plain, quick = Notes(), Notes()
            known = forms.recognise(raw, quick)
            replies += 1
            if known is None:
                assert quick == Notes(), f"seed {seed}: {raw!r}"
                try:
                    item = validated(upstream.chat, raw, plain)
                except Exception:  # noqa: S112 - whatever is wrong with it, there is nothing to learn
                    continue
                if item.raw is not None and not plain.repairs:
                    forms.learn(item.model, item.raw)
                continue
            recognised += 1
            assert encoded(known) == (b"application/json", raw), f"seed {seed}: {raw!r}"
            if may_be_refused(raw):  # a text looks like a number too large, so it would have been read anew: it can be
                assert from_json(raw) == read_json(raw), f"seed {seed}: {raw!r}"
                assert known.model, f"seed {seed}: {raw!r}"
                continue
            item = validated(upstream.chat, raw, plain)
            assert item.raw == raw, f"seed {seed}: {raw!r}"
            assert known.model == item.model, f"seed {seed}: {raw!r}"
            assert quick == plain, f"seed {seed}: {raw!r}"
    sys.stdout.write(f"seeds 0 to {EXAMPLES - 1}: {replies} replies, {recognised} of them by their bytes alone\n")
    assert recognised > replies / 6, "hardly anything was recognised: the comparison says nothing"
