"""Chat replies and streams on Ollama's wire, whole or line by line."""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Protocol

from pydantic import BaseModel

from ai_gateway.api.ollama.dropped import note_dropped
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.errors import GatewayError, ModelNotFound
from ai_gateway.gateway import Chat, Completion
from ai_gateway.translate.ollama_chat import reply
from ai_gateway.translate.ollama_chat.piece import End, Piece
from ai_gateway.translate.ollama_chat.stream import ChunkTranslator
from gateway_contract.openai.models import CreateCompletionResponse

_HARMLESS = re.compile(r"[\w./:@+-]{1,200}", re.ASCII)


class Writer[Line: BaseModel, Whole: BaseModel](Protocol):
    """Writes an answer in the form of one operation."""

    def line(self, piece: Piece) -> Line: ...
    def last_line(self, end: End) -> Line: ...
    def whole(self, piece: Piece, end: End) -> Whole: ...


def answered[Line: BaseModel, Whole: BaseModel](
    call: Call, model: str, dropped: list[str], answer: Chat | Completion, writer: Writer[Line, Whole]
) -> Whole | Stream[Line]:
    """The answer on Ollama's wire, whole or line by line.

    `model` is the name in the request, and `dropped` are its fields that could not be translated.
    """
    if isinstance(answer, Stream):
        return Stream(_lines(call, dropped, answer.items, model, writer))
    note_dropped(call, dropped)
    whole = answer.model
    return writer.whole(
        *(reply.completion(whole) if isinstance(whole, CreateCompletionResponse) else reply.chat(whole))
    )


async def _lines[Line: BaseModel, Whole: BaseModel](
    call: Call, dropped: list[str], chunks: AsyncGenerator[Any], model: str, writer: Writer[Line, Whole]
) -> AsyncGenerator[Line]:
    translator = ChunkTranslator(whole_calls=call.native is not None)
    with naming_model(model):
        async with aclosing(chunks) as items:
            async for chunk, _ in items:  # never runs, since nothing is relayed to another wire
                if dropped:  # now that the provider is known
                    note_dropped(call, dropped)
                    dropped = []
                for piece in translator.feed(chunk):
                    yield writer.line(piece)
        yield writer.last_line(translator.end())


@contextmanager
def naming_model(name: str) -> Iterator[None]:
    """Word the error of an unknown model as Ollama does, which clients check for, followed by our message."""
    try:
        yield
    except GatewayError as error:
        if error.status != 404 or error.code != "model_not_found":
            raise
        quoted = f" '{name}'" if _HARMLESS.fullmatch(name) else ""
        reason = error.message.partition(" does not exist here: ")[2] or error.message  # the model is named already
        missing = ModelNotFound(f"model{quoted} not found: {reason}", headers=error.headers)
        missing.detail = error.detail
        raise missing from error
