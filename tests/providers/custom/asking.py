"""Ask the built-in provider; every reply and chunk is held against its exact model before a test sees it as JSON."""

from typing import Any

from pydantic import BaseModel

from ai_gateway.contract.call import Attempt, Call
from ai_gateway.providers.custom import CustomProvider
from gateway_contract.openai import models

type Json = dict[str, Any]

CALL = Attempt(Call(operation="test", request_id="req-1"))
HELLO = [{"role": "user", "content": "Hello, what is a gateway?"}]
WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "place": {"$ref": "#/$defs/Place"},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
            "$defs": {"Place": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]}},
        },
    },
}
CLOCK: Json = {"type": "function", "function": {"name": "get_time"}}
NOTE: Json = {"type": "custom", "custom": {"name": "take_note"}}

provider = CustomProvider()


def exactly(reply: object) -> Json:
    """The reply as the gateway would write it, valid for its model in strict mode and unchanged by it."""
    assert isinstance(reply, BaseModel)
    dumped: Json = reply.model_dump(mode="json", by_alias=True, exclude_unset=True)
    again = type(reply).model_validate(dumped, strict=True)
    assert again.model_dump(mode="json", by_alias=True, exclude_unset=True) == dumped
    return dumped


def chat_request(**body: Any) -> models.CreateChatCompletionRequest:
    return models.CreateChatCompletionRequest.model_validate(
        {"model": "custom-chat", "messages": HELLO} | body, strict=True
    )


def completion_request(**body: Any) -> models.CreateCompletionRequest:
    return models.CreateCompletionRequest.model_validate(
        {"model": "custom-completion", "prompt": "Once upon a time"} | body, strict=True
    )


async def chat(**body: Any) -> Json:
    return exactly(await provider.create_chat_completion(CALL, chat_request(**body)))


async def streamed_chat(**body: Any) -> list[Json]:
    stream = provider.stream_chat_completion(CALL, chat_request(**body, stream=True))
    return [exactly(chunk) async for chunk in stream]


async def completion(**body: Any) -> Json:
    return exactly(await provider.create_completion(CALL, completion_request(**body)))


async def streamed_completion(**body: Any) -> list[Json]:
    stream = provider.stream_completion(CALL, completion_request(**body, stream=True))
    return [exactly(chunk) async for chunk in stream]


async def embeddings(**body: Any) -> Json:
    request = models.CreateEmbeddingRequest.model_validate(
        {"model": "custom-embedding", "input": "the sea"} | body, strict=True
    )
    return exactly(await provider.create_embeddings(CALL, request))


def text_of(reply: Json, choice: int = 0) -> str:
    return str(reply["choices"][choice]["message"]["content"])


def joined(chunks: list[Json], choice: int = 0) -> str:
    """The content of one choice, put together from its chunks."""
    parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice]
    return "".join(part["delta"].get("content") or "" for part in parts)
