"""An answer independent of the wire format: its pieces, and its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway_contract.ollama.models import OllamaLogprob, OllamaReplyToolCall
from gateway_contract.openai.models import CompletionUsage


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, or all of it. Tool calls are complete."""

    content: str = ""
    thinking: str = ""
    calls: list[OllamaReplyToolCall] = field(default_factory=list)
    logprobs: list[OllamaLogprob] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.content or self.thinking or self.calls or self.logprobs or self.images)


@dataclass(frozen=True, slots=True)
class End:
    """The finish reason and the usage, if known; `context` and `durations` come from Ollama servers only."""

    reason: str
    usage: CompletionUsage | None = None
    context: list[int] | None = None
    durations: Mapping[str, int] | None = None
