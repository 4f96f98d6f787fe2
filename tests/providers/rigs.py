"""Every adapter with a faithful fake of its upstream: what the one suite for all of them runs on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import override

from tests.support.anthropic_types import request_fault
from tests.support.behaviours import behave as openai_wire
from tests.support.fake_anthropic import behave as anthropic_wire
from tests.support.fake_cerebras import behave as cerebras_wire
from tests.support.fake_mistral import mistral_wire
from tests.support.fake_ollama import behave as ollama_wire
from tests.support.upstream import Behaviour, Upstream

KEY = "sk-upstream-5c1e9f7a2b"


@dataclass(frozen=True)
class Rig:
    """One adapter: `env` configures it for the fake that `behave` makes.

    `operations` are the doors it has, by the last part of their path.
    """

    provider: str
    behave: Behaviour
    env: Callable[[Upstream], dict[str, str]]
    operations: frozenset[str] = field(
        default_factory=lambda: frozenset({"chat/completions", "completions", "embeddings"})
    )

    @override
    def __str__(self) -> str:
        return self.provider


def _anthropic(upstream: Upstream) -> dict[str, str]:
    request_fault({})  # reading the types takes a while, and the first request must not wait for it
    return {"ANTHROPIC_BASE_URL": upstream.url, "ANTHROPIC_API_KEY": KEY}


RIGS = [
    Rig("openai", openai_wire, lambda upstream: {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": KEY}),
    Rig(
        "anthropic",
        anthropic_wire,
        _anthropic,
        frozenset({"chat/completions"}),
    ),
    Rig("groq", openai_wire, lambda upstream: {"GROQ_BASE_URL": upstream.url, "GROQ_API_KEY": KEY}),
    Rig("mistral", mistral_wire, lambda upstream: {"MISTRAL_BASE_URL": upstream.url, "MISTRAL_API_KEY": KEY}),
    Rig("ollama", ollama_wire, lambda upstream: {"OLLAMA_HOST": f"127.0.0.1:{upstream.port}", "OLLAMA_API_KEY": KEY}),
    Rig(
        "cerebras",
        cerebras_wire,
        lambda upstream: {"CEREBRAS_BASE_URL": f"http://127.0.0.1:{upstream.port}", "CEREBRAS_API_KEY": KEY},
        frozenset({"chat/completions", "completions"}),
    ),
]
