"""Reads messages and prompts, and estimates their tokens."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from pydantic import BaseModel

from ai_gateway.providers.custom import text
from ai_gateway.translate.chat_request import Message
from gateway_contract.openai import models

MESSAGE_TOKENS = 3
"""Per message, for its role and delimiters."""

PART_TOKENS = 85
"""For an image, audio or file part of any size: its content is ignored."""

_SOURCE = re.compile(r"^(\[\d{1,3}\]) .*\nhttps?://", re.MULTILINE)
"""The form of a source in search results: number and title, and its address on the next line."""
_DEFAULT_PROMPT = "<|endoftext|>"

type Content = str | Sequence[BaseModel] | None
type Prompts = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | None


def last_user_text(messages: Sequence[Message]) -> str:
    """The text of the last user message; empty if there is none."""
    users = (message for message in reversed(messages) if isinstance(message, models.ChatCompletionRequestUserMessage))
    last = next(users, None)
    return "" if last is None else " ".join(_texts(last.content))


def final_user_text(messages: Sequence[Message]) -> str:
    """The last message if it is a user's; empty after a tool message, so that agent loops end."""
    return last_user_text(messages[-1:])


def rounds_since_user(messages: Sequence[Message]) -> int | None:
    """How many rounds of tool calls and results follow the last user message; None if anything else follows it."""
    rounds = 0
    for message in reversed(messages):
        if isinstance(message, models.ChatCompletionRequestUserMessage):
            return rounds
        if isinstance(message, models.ChatCompletionRequestAssistantMessage):
            if not message.tool_calls:
                return None
            rounds += 1
        elif not isinstance(message, models.ChatCompletionRequestToolMessage):
            return None
    return None


def last_source(messages: Sequence[Message]) -> str:
    """The number in brackets of the first source in the last results; empty if they have none."""
    for message in reversed(messages):
        if not isinstance(message, models.ChatCompletionRequestToolMessage):
            break
        for text_of_it in _texts(message.content):
            if (source := _SOURCE.search(text_of_it)) is not None:
                return source[1]
    return ""


def is_begun(messages: Sequence[Message]) -> bool:
    """Whether the conversation has an assistant message."""
    return any(isinstance(message, models.ChatCompletionRequestAssistantMessage) for message in messages)


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Tokens of all messages, with flat amounts for parts that are not text."""
    return sum(_message_tokens(message) for message in messages)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of a completion, or an input of an embedding: a text, or token ids, each of which reads `<id>`."""

    given: str | Sequence[int]

    @property
    def text(self) -> str:
        return self.given if isinstance(self.given, str) else "".join(self.tokens)

    @property
    def tokens(self) -> list[str]:
        """The token ids, or the estimated tokens of a text."""
        return text.tokens(self.given) if isinstance(self.given, str) else [f"<{one}>" for one in self.given]

    @property
    def count(self) -> int:
        """How many tokens it has."""
        return text.count(self.given) if isinstance(self.given, str) else len(self.given)


def separate(prompts: Prompts) -> list[Prompt]:
    """Every prompt or input."""
    if isinstance(prompts, str) or not prompts:
        return [Prompt(prompts if isinstance(prompts, str) else _DEFAULT_PROMPT)]
    ids = [item for item in prompts if isinstance(item, int)]
    return [Prompt(ids)] if ids else [Prompt(one) for one in prompts if not isinstance(one, int)]


def _message_tokens(message: Message) -> int:
    texts = chain(_texts(message.content), _calls(message))
    return MESSAGE_TOKENS + sum(map(text.count, texts)) + PART_TOKENS * _other_parts(message.content)


def _texts(content: Content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    for part in content or ():
        if isinstance(part, models.ChatCompletionRequestMessageContentPartText):
            yield part.text
        elif isinstance(part, models.ChatCompletionRequestMessageContentPartRefusal):
            yield part.refusal


def _other_parts(content: Content) -> int:
    if content is None or isinstance(content, str):
        return 0
    return len(content) - sum(1 for _ in _texts(content))


def _calls(message: Message) -> Iterator[str]:
    """Names and arguments of an assistant's tool calls."""
    if not isinstance(message, models.ChatCompletionRequestAssistantMessage):
        return
    for call in message.tool_calls or ():
        if isinstance(call, models.ChatCompletionMessageToolCall):
            yield from (call.function.name, call.function.arguments)
        else:
            yield from (call.custom.name, call.custom.input)
    if message.function_call is not None:
        yield from (message.function_call.name, message.function_call.arguments)
