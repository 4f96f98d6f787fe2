"""Requests of Anthropic's clients for tests: as JSON, as the contract's model, and as the chat that they become."""

from typing import Any

from ai_gateway.translate.anthropic_chat.request import TranslatedRequest, chat
from ai_gateway.translate.carriers import EVERY, Carrier, fit
from gateway_contract.anthropic.models import AnthropicCreateMessageParams

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
CACHED = {"type": "ephemeral"}
WEATHER = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
NOBODYS: frozenset[Carrier] = frozenset()


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def call(number: int, name: str = "get_weather", **value: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": value}


def result(number: int, content: Any = "done", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content, **more}


def thought(words: str, signature: str = "c2ln") -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if content and isinstance(content[0], str) else list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content[0] if content and isinstance(content[0], str) else list(content)}


def asked(*messages: Any, **fields: Any) -> AnthropicCreateMessageParams:
    body = {"model": "m", "max_tokens": 64, "messages": list(messages) or [user("Hello")], **fields}
    return AnthropicCreateMessageParams.model_validate(body, strict=True)


def translated(*messages: Any, **fields: Any) -> TranslatedRequest:
    return chat(asked(*messages, **fields), "m")


def as_sent(
    *messages: Any, taken: frozenset[Carrier] = EVERY, provider: str = "", **fields: Any
) -> tuple[dict[str, Any], set[str]]:
    """The chat as a provider gets it that takes these carriers, and all names of what is lost."""
    made = translated(*messages, **fields)
    fitted, lost = fit(made.request, taken, provider)
    return fitted.model_dump(by_alias=True, exclude_unset=True), {*made.dropped, *lost}
