"""The state of one choice of a stream."""

from dataclasses import dataclass

from pydantic import MISSING

from ai_gateway.conform.rules import DROP_NULL, Report
from ai_gateway.conform.tool_calls import NAMELESS, ToolCalls, without
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models


@dataclass(slots=True)
class ChoiceState:
    """The state of one choice. `content_fields` names the fields of its deltas that had content.

    It is `finished` while its last chunk has a finish reason, and `closed` once that has been sent.
    """

    calls: ToolCalls
    content_fields: set[str]
    begun: bool = False
    finished: bool = False
    closed: bool = False
    reason: str | None = None
    function: str | None = None  # the name of the deprecated call, once there is one

    def take_function(
        self, delta: models.ChatCompletionStreamResponseDelta, report: Report
    ) -> models.ChatCompletionStreamResponseDelta:
        """Note a piece of the deprecated call. The delta itself, or one without a piece that says nothing."""
        piece = delta.function_call
        if piece is MISSING:
            return delta
        name = piece.name if isinstance(piece.name, str) else ""
        if self.function is None and not (name or piece.arguments or piece.model_extra):
            report(DROP_NULL)
            return without(delta, "function_call")
        self.function = (self.function or "") + name
        return delta

    def end_calls(self) -> None:
        """The choice ends. Raises UpstreamInvalidResponse for a call without a name."""
        if self.calls:
            self.calls.end()
        if self.function == "":
            raise UpstreamInvalidResponse(NAMELESS)

    def note(self, delta: models.ChatCompletionStreamResponseDelta, fields: set[str]) -> None:
        """Add those of the fields that have content."""
        self.content_fields.update(name for name in fields if getattr(delta, name))
