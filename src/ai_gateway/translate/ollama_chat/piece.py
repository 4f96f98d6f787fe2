"""An answer independent of the wire format: its pieces, and its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ai_gateway.translate.extra_fields import Fields, is_same
from gateway_contract.ollama.models import OllamaLogprob, OllamaReplyToolCall
from gateway_contract.openai.models import CompletionUsage


@dataclass(slots=True)
class Extras:
    """The upstream's extra fields in a reply or chunk, in its choice, and in its message or delta."""

    reply: Fields = field(default_factory=dict)
    choice: Fields = field(default_factory=dict)
    message: Fields = field(default_factory=dict)

    @property
    def places(self) -> tuple[Fields, Fields, Fields]:
        """All three dictionaries."""
        return self.reply, self.choice, self.message

    def agrees(self, other: "Extras") -> bool:
        """Whether no field differs between both."""
        return all(
            is_same(ours[name], theirs[name])
            for ours, theirs in zip(self.places, other.places, strict=True)
            for name in ours.keys() & theirs.keys()
        )

    def add(self, other: "Extras") -> None:
        """Add the other's fields, which agree."""
        for ours, theirs in zip(self.places, other.places, strict=True):
            ours.update(theirs)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, or all of it. Tool calls are complete."""

    content: str = ""
    thinking: str = ""
    calls: list[OllamaReplyToolCall] = field(default_factory=list)
    logprobs: list[OllamaLogprob] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    extras: Extras | None = None

    @property
    def empty(self) -> bool:
        """Whether it has nothing but extra fields."""
        return not (self.content or self.thinking or self.calls or self.logprobs or self.images)


@dataclass(frozen=True, slots=True)
class End:
    """The finish reason and the usage, if known; `context` and `durations` come from Ollama servers only."""

    reason: str
    usage: CompletionUsage | None = None
    context: list[int] | None = None
    durations: Mapping[str, int] | None = None
    extras: Extras | None = None
