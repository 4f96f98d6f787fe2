"""What a model says, apart from either wire: pieces of an answer, and how it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway_contract.ollama.models import OllamaLogprob, OllamaReplyToolCall
from gateway_contract.openai.models import CompletionUsage


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, or all of it. Tool calls are whole ones."""

    content: str = ""
    thinking: str = ""
    calls: list[OllamaReplyToolCall] = field(default_factory=list)
    logprobs: list[OllamaLogprob] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it to tell."""
        return not (self.content or self.thinking or self.calls or self.logprobs or self.images)


@dataclass(frozen=True, slots=True)
class End:
    """Why an answer ended, and what it took as far as that is known; only Ollama says `context` and `durations`."""

    reason: str
    usage: CompletionUsage | None = None
    context: list[int] | None = None
    durations: Mapping[str, int] | None = None
