"""Checks of whole replies beyond the schema: a choice, unique indexes, a matching finish reason, tools by name."""

from pydantic import MISSING, BaseModel

from ai_gateway.conform.rules import DROP_NULL, FINISH_WITH_CALLS, NUMBER_CHOICES, Report
from ai_gateway.conform.tool_calls import NAMELESS, without
from ai_gateway.contract.stream import Item
from ai_gateway.contract.write import to_fields
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models


def conform_choices[Rep: (models.CreateChatCompletionResponse, models.CreateCompletionResponse)](
    item: Item[Rep], _body: BaseModel, report: Report
) -> Item[Rep]:
    """The reply itself, or a repaired copy. Raises UpstreamInvalidResponse for one without choices."""
    reply = item.model
    choices = list(reply.choices)
    if len(choices) == 1 and choices[0].index == 0 and not _has_calls(choices[0]):
        return item
    if not choices:
        raise UpstreamInvalidResponse("The provider answered without a choice.")
    changed = False
    if sorted(choice.index for choice in choices) != list(range(len(choices))):
        report(NUMBER_CHOICES)
        changed = True
        choices = [choice.model_copy(update={"index": at}) for at, choice in enumerate(choices)]
    called = [_with_named_calls(choice, report) for choice in choices]
    changed = changed or any(new is not old for new, old in zip(called, choices, strict=True))
    return Item(reply.model_copy(update={"choices": called})) if changed else item


def _has_calls(choice: object) -> bool:
    if not isinstance(choice, models.CreateChatCompletionResponseChoice):
        return False
    return choice.message.tool_calls is not MISSING and bool(choice.message.tool_calls)


def _with_named_calls[Choice: BaseModel](choice: Choice, report: Report) -> Choice:
    """The choice itself, or a copy without calls that say nothing, whose finish reason is that of the others.

    Raises UpstreamInvalidResponse for a call without a name, as for one in a stream. Agents check the finish reason.
    """
    if not isinstance(choice, models.CreateChatCompletionResponseChoice) or choice.message.tool_calls is MISSING:
        return choice
    calls = [call for call in choice.message.tool_calls if _says_anything(call)]
    change: dict[str, object] = {}
    if len(calls) < len(choice.message.tool_calls):
        report(DROP_NULL)
        message = choice.message.model_copy(update={"tool_calls": calls})
        change["message"] = message if calls else without(message, "tool_calls")
    if calls and choice.finish_reason == "stop":
        report(FINISH_WITH_CALLS)
        change["finish_reason"] = "tool_calls"
    return choice.model_copy(update=change) if change else choice


def _says_anything(call: models.ChatCompletionMessageToolCall | models.ChatCompletionMessageCustomToolCall) -> bool:
    """Whether a call is more than empty texts, as some upstreams add one. Raises UpstreamInvalidResponse."""
    called = call.function if isinstance(call, models.ChatCompletionMessageToolCall) else call.custom
    if called.name:
        return True
    if call.id or any(to_fields(called).values()) or call.model_extra:
        raise UpstreamInvalidResponse(NAMELESS)
    return False
