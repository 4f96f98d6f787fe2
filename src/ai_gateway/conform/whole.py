"""What a whole reply owes beyond its schema: at least one choice, each with a place of its own, ended as it reads."""

from pydantic import MISSING

from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models


def conform_choices[Reply: (models.CreateChatCompletionResponse, models.CreateCompletionResponse)](
    reply: Reply,
) -> tuple[Reply, list[str]]:
    """The reply itself, or a mended copy and the rules that it took. Raises UpstreamInvalidResponse."""
    choices = list(reply.choices)
    if len(choices) == 1 and choices[0].index == 0 and not _stops_with_calls(choices[0]):
        return reply, []
    if not choices:
        raise UpstreamInvalidResponse("The provider answered without a choice.")
    repairs: list[str] = []
    if sorted(choice.index for choice in choices) != list(range(len(choices))):
        choices = [choice.model_copy(update={"index": at}) for at, choice in enumerate(choices)]
        repairs.append("number-choices")
    if any(map(_stops_with_calls, choices)):
        ended = {"finish_reason": "tool_calls"}
        choices = [choice.model_copy(update=ended) if _stops_with_calls(choice) else choice for choice in choices]
        repairs.append("finish-with-calls")
    return (reply.model_copy(update={"choices": choices}) if repairs else reply), repairs


def _stops_with_calls(choice: object) -> bool:
    """Whether a choice calls tools and says that it just stopped, while agents look for `tool_calls`."""
    if not isinstance(choice, models.CreateChatCompletionResponseChoice) or choice.finish_reason != "stop":
        return False
    return choice.message.tool_calls is not MISSING and bool(choice.message.tool_calls)
