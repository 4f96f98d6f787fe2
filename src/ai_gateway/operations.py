"""The operations on models: everything that differs between them, as one value each."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel

from ai_gateway.accounts.bounds import Bound, chat_bound, completion_bound, embedding_bound
from ai_gateway.conform.embedding import conform_embeddings
from ai_gateway.conform.rules import Report
from ai_gateway.conform.stream import prompt_count
from ai_gateway.conform.whole import conform_choices
from ai_gateway.contract.call import Attempt
from ai_gateway.contract.stream import Arrived, Item, Received
from ai_gateway.providers.base import Provider
from gateway_contract.openai import models

type Streamed = models.CreateChatCompletionRequest | models.CreateCompletionRequest
type Request = Streamed | models.CreateEmbeddingRequest
type Chunk = models.CreateChatCompletionStreamResponse | models.CreateCompletionStreamResponse


@dataclass(frozen=True)
class Operation[Req: Request, Rep: BaseModel]:
    """One operation that answers with a whole reply of the model `reply`.

    `call` calls a provider; `conform` checks a parsed reply against its request and raises UpstreamInvalidResponse;
    `bound` is the most that a request can use, by its model and the size of its body; `choices` is the number of
    choices that the reply must have.
    """

    name: str
    reply: type[Rep]
    call: Callable[[Provider, Attempt, Req], Awaitable[Received[Rep]]]
    conform: Callable[[Item[Rep], Req, Report], Item[Rep]]
    bound: Callable[[Req, int], Bound]
    choices: Callable[[Req], int] = lambda _: 1


@dataclass(frozen=True)
class Streaming[
    Req: Streamed,
    Piece: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse),
]:
    """The same operation as a stream of chunks."""

    name: str
    chunk: type[Piece]
    call: Callable[[Provider, Attempt, Req], AsyncGenerator[Arrived[Piece]]]
    bound: Callable[[Req, int], Bound]
    choices: Callable[[Req], int]


CHAT = Operation[models.CreateChatCompletionRequest, models.CreateChatCompletionResponse](
    "createChatCompletion",
    models.CreateChatCompletionResponse,
    lambda provider, attempt, body: provider.create_chat_completion(attempt, body),
    conform_choices,
    chat_bound,
    lambda body: body.n or 1,
)
CHAT_STREAM = Streaming[models.CreateChatCompletionRequest, models.CreateChatCompletionStreamResponse](
    "createChatCompletion",
    models.CreateChatCompletionStreamResponse,
    lambda provider, attempt, body: provider.stream_chat_completion(attempt, body),
    chat_bound,
    lambda body: body.n or 1,
)
COMPLETION = Operation[models.CreateCompletionRequest, models.CreateCompletionResponse](
    "createCompletion",
    models.CreateCompletionResponse,
    lambda provider, attempt, body: provider.create_completion(attempt, body),
    conform_choices,
    completion_bound,
    lambda body: prompt_count(body) * (body.n or 1),
)
COMPLETION_STREAM = Streaming[models.CreateCompletionRequest, models.CreateCompletionStreamResponse](
    "createCompletion",
    models.CreateCompletionStreamResponse,
    lambda provider, attempt, body: provider.stream_completion(attempt, body),
    completion_bound,
    lambda body: prompt_count(body) * (body.n or 1),
)
EMBEDDING = Operation[models.CreateEmbeddingRequest, models.CreateEmbeddingResponse](
    "createEmbedding",
    models.CreateEmbeddingResponse,
    lambda provider, attempt, body: provider.create_embeddings(attempt, body),
    conform_embeddings,
    embedding_bound,
)
