"""A small request of each client wire that asks a model something, for tests that hold for all of them."""

from typing import Any

PATHS = {
    "openai": "/v1/chat/completions",
    "ollama": "/api/chat",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
}
OPERATIONS = {
    "openai": "createChatCompletion",
    "ollama": "ollamaChat",
    "responses": "createResponse",
    "anthropic": "createMessage",
}


def body_for(door: str, model: str, content: Any = "hello", *, stream: bool = False) -> dict[str, Any]:
    """What a client of this wire sends; `content` may be wrong."""
    said = [{"role": "user", "content": content}] if isinstance(content, str) else content
    match door:
        case "responses":
            return {"model": model, "input": content, "stream": stream, "store": False}
        case "anthropic":
            return {"model": model, "messages": said, "stream": stream, "max_tokens": 100}
        case _:
            return {"model": model, "messages": said, "stream": stream}
