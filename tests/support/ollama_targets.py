"""Whom a caller of Ollama's wire reaches through the gateway: the built-in provider, OpenAI's wire, Ollama's own."""

from dataclasses import dataclass

from tests.support.able_model import ABLE


@dataclass(frozen=True)
class Target:
    """The names of the models there: one that does what it is asked, and some that do not. `said` is in its text."""

    name: str
    said: str
    model: str
    text: str
    embedding: str
    missing: str
    busy: str
    broken: str
    slow: str


CUSTOM = Target("custom", "tides", "custom-chat", "custom-completion", "custom-embedding", "fault-model-not-found",
                "fault-429", "fault-truncate", "fault-slow")  # fmt: skip
OPENAI = Target("openai", "Welt", f"lab/{ABLE}", "lab/good", "lab/good", "lab/status-404-string", "lab/status-429",
                "lab/stream-error", "lab/drip")  # fmt: skip
OLLAMA = Target("ollama", "Welt", f"ollama/{ABLE}", "ollama/good", "ollama/good", "ollama/status-404",
                "ollama/status-429", "ollama/stream-error", "ollama/drip")  # fmt: skip
TARGETS = {target.name: target for target in (CUSTOM, OPENAI, OLLAMA)}
