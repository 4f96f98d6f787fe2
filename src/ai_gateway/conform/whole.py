"""Checks of whole replies beyond the schema: at least one choice, unique indexes, a matching finish reason."""

from pydantic import MISSING, BaseModel

from ai_gateway.conform.rules import FINISH_WITH_CALLS, NUMBER_CHOICES, Report
from ai_gateway.contract.stream import Item
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models


def conform_choices[Rep: (models.CreateChatCompletionResponse, models.CreateCompletionResponse)](
    item: Item[Rep], _body: BaseModel, report: Report
) -> Item[Rep]:
    """The reply itself, or a repaired copy. Raises UpstreamInvalidResponse for one without choices."""
    reply = item.model
    choices = list(reply.choices)
    if len(choices) == 1 and choices[0].index == 0 and not _stops_with_calls(choices[0]):
        return item
    if not choices:
        raise UpstreamInvalidResponse("The provider answered without a choice.")
    changed = False
    if sorted(choice.index for choice in choices) != list(range(len(choices))):
        report(NUMBER_CHOICES)
        changed = True
        choices = [choice.model_copy(update={"index": at}) for at, choice in enumerate(choices)]
    if any(map(_stops_with_calls, choices)):
        report(FINISH_WITH_CALLS)
        changed = True
        ended = {"finish_reason": "tool_calls"}
        choices = [choice.model_copy(update=ended) if _stops_with_calls(choice) else choice for choice in choices]
    return Item(reply.model_copy(update={"choices": choices})) if changed else item


def _stops_with_calls(choice: object) -> bool:
    """Whether a choice with tool calls has the finish reason `stop`, while agents check for `tool_calls`."""
    if not isinstance(choice, models.CreateChatCompletionResponseChoice) or choice.finish_reason != "stop":
        return False
    return choice.message.tool_calls is not MISSING and bool(choice.message.tool_calls)
