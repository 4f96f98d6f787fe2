"""Checks of whole replies beyond the schema: a choice, unique indexes, a matching finish reason, tools by name."""

from pydantic import MISSING, BaseModel

from ai_gateway.conform.rules import DROP_NULL, FILL_CALL_ID, FILL_ID, FINISH_WITH_CALLS, NUMBER_CHOICES, Report
from ai_gateway.conform.tool_calls import NAMELESS, made_call_id, without
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


def fill_empty_ids[Rep: BaseModel](item: Item[Rep], request_id: str, report: Report) -> Item[Rep]:
    """The reply itself, or a copy in whose ids, its own and those of its calls, is something: results refer to them."""
    reply = item.model
    if not isinstance(reply, models.CreateChatCompletionResponse | models.CreateCompletionResponse):
        return item
    change: dict[str, object] = {}
    if not reply.id:
        report(FILL_ID)
        change["id"] = f"chatcmpl-{request_id}"
    if isinstance(reply, models.CreateChatCompletionResponse):
        choices = [_with_call_ids(choice, at, request_id) for at, choice in enumerate(reply.choices)]
        if any(new is not old for new, old in zip(choices, reply.choices, strict=True)):
            report(FILL_CALL_ID)
            change["choices"] = choices
    return Item(item.model.model_copy(update=change)) if change else item


def _with_call_ids(
    choice: models.CreateChatCompletionResponseChoice, at: int, request_id: str
) -> models.CreateChatCompletionResponseChoice:
    calls = choice.message.tool_calls
    if calls is MISSING or all(call.id for call in calls):
        return choice
    called = [
        call if call.id else call.model_copy(update={"id": made_call_id(request_id, at, number)})
        for number, call in enumerate(calls)
    ]
    return choice.model_copy(update={"message": choice.message.model_copy(update={"tool_calls": called})})


def _has_calls(choice: object) -> bool:
    if not isinstance(choice, models.CreateChatCompletionResponseChoice):
        return False
    message = choice.message
    return message.function_call is not MISSING or (message.tool_calls is not MISSING and bool(message.tool_calls))


def _with_named_calls[Choice: BaseModel](choice: Choice, report: Report) -> Choice:
    """The choice itself, or a copy without calls that say nothing, whose finish reason is that of the others.

    Raises UpstreamInvalidResponse for a call without a name, as for one in a stream. Agents check the finish reason.
    """
    if not isinstance(choice, models.CreateChatCompletionResponseChoice):
        return choice
    message, change = choice.message, dict[str, object]()
    deprecated = message.function_call
    if deprecated is not MISSING and not deprecated.name:
        if deprecated.arguments or deprecated.model_extra:
            raise UpstreamInvalidResponse(NAMELESS)
        report(DROP_NULL)
        change["message"] = message = without(message, "function_call")
    given = [] if message.tool_calls is MISSING else message.tool_calls
    calls = [call for call in given if _says_anything(call)]
    if len(calls) < len(given):
        report(DROP_NULL)
        message = message.model_copy(update={"tool_calls": calls})
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
