"""Simulated prompt caching: computed from the conversation, since nothing is stored."""

from collections.abc import Sequence

from pydantic import BaseModel

from ai_gateway.providers.custom import prompt
from ai_gateway.providers.custom.usage import Cached
from ai_gateway.translate.chat_request import Message

_MARK = "cache_control"


def counts(messages: Sequence[Message]) -> Cached | None:
    """The tokens up to the last message with `cache_control`; None without one.

    The first turn of a conversation writes them to the cache. Later turns read those before the last answer, which the
    previous turn sent, and write the rest.
    """
    marked = [at for at, message in enumerate(messages) if _is_marked(message)]
    if not marked:
        return None
    until = messages[: marked[-1] + 1]
    answers = [at for at, message in enumerate(until) if prompt.is_begun([message])]
    whole = prompt.estimated_tokens(until)
    read = prompt.estimated_tokens(until[: answers[-1]]) if answers else 0
    return Cached(read, whole - read)


def _is_marked(message: Message) -> bool:
    parts: list[BaseModel] = [message, *(message.content if isinstance(message.content, list) else ())]
    return any((part.model_extra or {}).get(_MARK) for part in parts)
