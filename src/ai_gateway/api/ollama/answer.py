"""From what the gateway answers to what goes out on Ollama's wire, whole or line by line."""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from ai_gateway.api.ollama.dropped import name_dropped
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.errors import GatewayError, ModelNotFound
from ai_gateway.gateway import Chat, Completion
from ai_gateway.translate.ollama_chat import reply
from ai_gateway.translate.ollama_chat.piece import End, Piece
from ai_gateway.translate.ollama_chat.stream import Chunk, ChunkTranslator
from gateway_contract.openai.models import CreateCompletionResponse

_HARMLESS = re.compile(r"[\w./:@+-]{1,200}", re.ASCII)


class Writer[Line: BaseModel, Whole: BaseModel](Protocol):
    """Says an answer in the form of one operation."""

    def line(self, piece: Piece) -> Line: ...
    def last_line(self, end: End) -> Line: ...
    def whole(self, piece: Piece, end: End) -> Whole: ...


@dataclass(frozen=True, slots=True)
class Asking:
    """One question: its call, the name its caller gave the model, and what of it could not be asked."""

    call: Call
    model: str
    dropped: list[str]

    def answered[Line: BaseModel, Whole: BaseModel](
        self, found: Chat | Completion, writer: Writer[Line, Whole]
    ) -> Whole | Stream[Line]:
        """The answer, to be written as it is or line by line."""
        name_dropped(self.call, self.dropped)
        if isinstance(found, Stream):
            return Stream(self._lines(found.items, writer))
        whole = reply.completion(found) if isinstance(found, CreateCompletionResponse) else reply.chat(found)
        return writer.whole(*whole)

    async def _lines[Line: BaseModel, Whole: BaseModel](
        self, chunks: AsyncGenerator[Chunk], writer: Writer[Line, Whole]
    ) -> AsyncGenerator[Line]:
        translator = ChunkTranslator()
        with naming_model(self.model):
            async with aclosing(chunks) as items:
                async for chunk in items:
                    piece = translator.feed(chunk)
                    if piece is not None:
                        yield writer.line(piece)
            yield writer.last_line(translator.end())


@contextmanager
def naming_model(name: str) -> Iterator[None]:
    """A model that nobody has is missed in Ollama's words, which clients look for, and then in ours."""
    try:
        yield
    except GatewayError as error:
        if error.status != 404 or error.code != "model_not_found":
            raise
        quoted = f" '{name}'" if _HARMLESS.fullmatch(name) else ""
        missing = ModelNotFound(f"model{quoted} not found: {error.message}", headers=error.headers)
        missing.detail = error.detail
        raise missing from error
