"""Models that refuse a reasoning effort, which agents send with every request."""

from ai_gateway.contract.call import Attempt
from ai_gateway.errors import GatewayError
from ai_gateway.providers.parameters import note_dropped
from gateway_contract.openai import models

_MAX_MODELS = 1_000
_REFUSALS = frozenset({400, 422})
_WORDS = ("reasoning", "thinking", "effort")


class RefusedEfforts:
    """Models that have refused a reasoning effort since the start; it is omitted for callers of other wires.

    They are learned from the upstream's refusal, after which the request is sent without it: there is no list of such
    models.
    """

    def __init__(self) -> None:
        self._models: set[str] = set()

    def without[Body: models.CreateChatCompletionRequest](self, attempt: Attempt, body: Body) -> Body:
        """The body without an effort that the model has refused before."""
        if body.model not in self._models or not _is_requested(attempt, body):
            return body
        note_dropped(attempt, {"reasoning_effort"})
        fitted = body.model_copy(update={"reasoning_effort": None})
        fitted.__pydantic_fields_set__ = body.model_fields_set - {"reasoning_effort"}
        return fitted

    def learn(self, attempt: Attempt, body: models.CreateChatCompletionRequest, error: GatewayError) -> bool:
        """Learn from an error that refuses the effort. Returns whether it does, so that the request can be retried."""
        words = f"{error.param} {error.message} {error.detail}".lower()
        if (
            error.status not in _REFUSALS
            or not any(word in words for word in _WORDS)
            or not _is_requested(attempt, body)
            or body.model in self._models
            or len(self._models) >= _MAX_MODELS
        ):
            return False
        self._models.add(body.model)
        return True


def _is_requested(attempt: Attempt, body: models.CreateChatCompletionRequest) -> bool:
    own = attempt.call.wire.name == "openai" or attempt.call.native is not None
    return not own and body.reasoning_effort is not None
