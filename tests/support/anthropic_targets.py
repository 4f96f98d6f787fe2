"""Whom a caller of Anthropic's wire reaches: the built-in provider, OpenAI's wire, Ollama's, and Anthropic's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support import fake_anthropic
from tests.support.able_model import ABLE
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.upstream import Upstream, running_upstream


@dataclass(frozen=True)
class Target:
    """The names of the models there: one that answers and calls tools, and some that fail. `said` is in its text."""

    name: str
    said: str
    model: str
    tool: str
    thinks: str
    busy: str
    missing: str
    broken: str


CUSTOM = Target(
    "custom",
    "tides",
    "custom-chat",
    "custom-chat",
    "",
    "custom/fault-429",
    "custom/fault-model-not-found",
    "custom/fault-truncate",
)
OPENAI = Target("openai", "Welt", f"lab/{ABLE}", f"lab/{ABLE}", f"lab/{ABLE}", "lab/status-429",
                "lab/status-404-string", "lab/stream-error")  # fmt: skip
OLLAMA = Target("ollama", "Welt", f"ollama/{ABLE}", f"ollama/{ABLE}", f"ollama/{ABLE}", "ollama/status-429",
                "ollama/status-404", "ollama/stream-error")  # fmt: skip
ANTHROPIC = Target("anthropic", "Welt", "anthropic/good", "anthropic/tool-call", "anthropic/thinking",
                   "anthropic/status-429", "anthropic/status-404", "anthropic/stream-error")  # fmt: skip
TARGETS = {target.name: target for target in (CUSTOM, OPENAI, OLLAMA, ANTHROPIC)}


@contextmanager
def in_front_of_all(gateway_for: SharedGateways, lab: Upstream, ollama: Upstream) -> Iterator[LiveGateway]:
    """A gateway in front of an upstream of each wire."""
    with running_upstream(fake_anthropic.behave) as anthropic:
        yield gateway_for(
            PROVIDER_LAB_BASE_URL=lab.url,
            OLLAMA_HOST=ollama.url.removesuffix("/v1"),
            ANTHROPIC_API_KEY="sk-ant-test",
            ANTHROPIC_BASE_URL=anthropic.url,
            MAX_RETRIES="0",
            BREAKER_THRESHOLD="0",
        )
