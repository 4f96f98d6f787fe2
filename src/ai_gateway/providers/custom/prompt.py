"""What a request asks, read from messages or prompts, and how many tokens it is estimated at."""

from collections.abc import Iterator, Sequence
from itertools import chain

from pydantic import BaseModel

from ai_gateway.providers.custom import text
from ai_gateway.translate.chat_request import Message
from gateway_contract.openai import models

MESSAGE_TOKENS = 3
"""For the role and the ends of every message."""

PART_TOKENS = 85
"""For an image, a sound or a file, whatever its size: nothing of it is read."""

_DEFAULT_PROMPT = "<|endoftext|>"

type Content = str | Sequence[BaseModel] | None
type Prompts = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | None


def last_user_text(messages: Sequence[Message]) -> str:
    """What the user said last; empty when no user spoke."""
    users = (message for message in reversed(messages) if isinstance(message, models.ChatCompletionRequestUserMessage))
    last = next(users, None)
    return "" if last is None else " ".join(_texts(last.content))


def users_turn(messages: Sequence[Message]) -> str:
    """The last message when it is a user's; empty after a tool has answered, so that nobody calls it for ever."""
    return last_user_text(messages[-1:])


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Tokens of everything the messages say, with flat amounts for what is not text."""
    return sum(_message_tokens(message) for message in messages)


def tokenized(prompts: Prompts) -> list[list[str]]:
    """Every prompt or input in tokens: words as estimated, a token id as `<id>`."""
    if isinstance(prompts, str) or not prompts:
        return [text.tokens(prompts if isinstance(prompts, str) else _DEFAULT_PROMPT)]
    ids = [item for item in prompts if isinstance(item, int)]
    if ids:
        return [_rendered(ids)]
    return [text.tokens(one) if isinstance(one, str) else _rendered(one) for one in prompts if not isinstance(one, int)]


def _rendered(ids: Sequence[int]) -> list[str]:
    return [f"<{one}>" for one in ids]


def _message_tokens(message: Message) -> int:
    said = chain(_texts(message.content), _calls(message))
    return MESSAGE_TOKENS + sum(map(text.count, said)) + PART_TOKENS * _unread_parts(message.content)


def _texts(content: Content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for part in content or ():
        if isinstance(part, models.ChatCompletionRequestMessageContentPartText):
            yield part.text
        elif isinstance(part, models.ChatCompletionRequestMessageContentPartRefusal):
            yield part.refusal


def _unread_parts(content: Content) -> int:
    if content is None or isinstance(content, str):
        return 0
    return len(content) - sum(1 for _ in _texts(content))


def _calls(message: Message) -> Iterator[str]:
    """Names and arguments of the calls an assistant made."""
    if not isinstance(message, models.ChatCompletionRequestAssistantMessage):
        return
    for call in message.tool_calls or ():
        if isinstance(call, models.ChatCompletionMessageToolCall):
            yield from (call.function.name, call.function.arguments)
        else:
            yield from (call.custom.name, call.custom.input)
    if message.function_call is not None:
        yield from (message.function_call.name, message.function_call.arguments)
