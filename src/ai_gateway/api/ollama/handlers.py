"""Ollama's operations, in front of whatever the gateway leads to."""

from typing import NoReturn, override

from ai_gateway.api.access import Access
from ai_gateway.api.boundary import OllamaBoundary
from ai_gateway.api.ollama.answer import Asking, naming_model
from ai_gateway.api.ollama.dropped import name_dropped, refuse_unknown
from ai_gateway.config.constants import OLLAMA_VERSION
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.errors import MissingParameter, NotImplementedHere
from ai_gateway.gateway import Chat, Completion, Gateway
from ai_gateway.routing.model_tags import known_id
from ai_gateway.translate.ollama_chat import reply, request
from ai_gateway.translate.ollama_chat.models import shown, summaries
from ai_gateway.translate.ollama_chat.policies import apply_policies
from ai_gateway.translate.ollama_chat.timings import Stopwatch
from ai_gateway.translate.ollama_chat.writers import ChatWriter, GenerateWriter, prefer_upstream_timings
from gateway_contract.ollama import models
from gateway_contract.ollama.routes import Handlers

type Body = (
    models.OllamaChatRequest | models.OllamaGenerateRequest | models.OllamaEmbedRequest | models.OllamaEmbeddingsRequest
)


class OllamaHandlers(OllamaBoundary, Handlers):
    def __init__(self, gateway: Gateway, access: Access, body_limits: BodyLimits) -> None:
        super().__init__(access, body_limits)
        self.gateway = gateway

    @override
    async def ollama_chat(
        self, call: Call, body: models.OllamaChatRequest
    ) -> models.OllamaChatResponse | Stream[models.OllamaChatStreamEvent]:
        watch = Stopwatch()
        writer = ChatWriter(body.model, watch)
        with naming_model(body.model):
            model = await known_id(self.gateway.routing, body.model)
            native = await self._settle_native(call, body, model)
            if not body.messages:
                if native:  # where a model can be loaded, it is
                    whole = body.model_copy(update={"stream": False})
                    await self.gateway.chat(call, request.chat(whole, model, native=True).request)
                name_dropped(call, [] if native else apply_policies(body))
                return writer.empty(_loaded(body))
            asked = request.chat(body, model, native=native)
            watch.provider_called()
            found = await self.gateway.chat(call, asked.request)
        return Asking(call, body.model, asked.dropped).answered(found, writer)

    @override
    async def ollama_generate(
        self, call: Call, body: models.OllamaGenerateRequest
    ) -> models.OllamaGenerateResponse | Stream[models.OllamaGenerateStreamEvent]:
        watch = Stopwatch()
        writer = GenerateWriter(body.model, watch)
        with naming_model(body.model):
            model = await known_id(self.gateway.routing, body.model)
            native = await self._settle_native(call, body, model)
            if not body.prompt:
                if native:  # as above
                    whole = body.model_copy(update={"stream": False})
                    await self.gateway.complete(call, request.complete(whole, model, native=True).request)
                name_dropped(call, [] if native else apply_policies(body))
                return writer.empty(_loaded(body))
            found, dropped = await self._generated(call, body, model, watch, native=native)
        return Asking(call, body.model, dropped).answered(found, writer)

    async def _generated(
        self, call: Call, body: models.OllamaGenerateRequest, model: str, watch: Stopwatch, *, native: bool
    ) -> tuple[Chat | Completion, list[str]]:
        """A text goes on as a completion; a question is a chat, which far more models can answer."""
        if native or request.is_text_completion(body):
            text = request.complete(body, model, native=native)
            watch.provider_called()
            return await self.gateway.complete(call, text.request), text.dropped
        question = request.generate(body, model)
        watch.provider_called()
        return await self.gateway.chat(call, question.request), question.dropped

    @override
    async def ollama_embed(self, call: Call, body: models.OllamaEmbedRequest) -> models.OllamaEmbedResponse:
        watch = Stopwatch()
        vectors, measured = await self._embedded(call, body, body.input or "", body.dimensions, watch)
        kept = {name: value for name, value in measured.items() if name in models.OllamaEmbedResponse.model_fields}
        return models.OllamaEmbedResponse(model=body.model, embeddings=vectors, **kept)

    @override
    async def ollama_embeddings(
        self, call: Call, body: models.OllamaEmbeddingsRequest
    ) -> models.OllamaEmbeddingsResponse:
        vectors, _ = await self._embedded(call, body, body.prompt or "", None, Stopwatch())
        first = vectors[0] if vectors else []
        if isinstance(body.prompt, list):
            return models.OllamaEmbeddingsResponse(embedding=first, embeddings=vectors)
        return models.OllamaEmbeddingsResponse(embedding=first)

    async def _embedded(
        self,
        call: Call,
        body: models.OllamaEmbedRequest | models.OllamaEmbeddingsRequest,
        texts: str | list[str],
        dimensions: int | None,
        watch: Stopwatch,
    ) -> tuple[list[list[float]], dict[str, int]]:
        """The vectors, and what they took; of nothing, nothing."""
        with naming_model(body.model):
            model = await known_id(self.gateway.routing, body.model)
            native = await self._settle_native(call, body, model)
            dropped = [] if native else apply_policies(body)
            if not texts:
                name_dropped(call, dropped)
                return [], watch.measures(0, 0)
            watch.provider_called()
            found = await self.gateway.embed(call, request.embed(model, texts, dimensions))
        name_dropped(call, dropped)
        measured = watch.measures(found.usage.prompt_tokens, 0)
        return reply.embeddings(found), prefer_upstream_timings(measured, reply.durations(found.model_extra))

    @override
    async def ollama_list(self, call: Call) -> models.OllamaListResponse:
        listed = await self.gateway.list_models(call)
        return models.OllamaListResponse(models=summaries(listed.data))

    @override
    async def ollama_head_tags(self, call: Call) -> None:
        return None

    @override
    async def ollama_show(self, call: Call, body: models.OllamaShowRequest) -> models.OllamaShowResponse:
        name = body.model or body.name
        if not name:
            raise MissingParameter("model is required: add it.", param="model")
        with naming_model(name):
            model = await known_id(self.gateway.routing, name)
            native = all(provider.wire == "ollama" for provider in await self.gateway.providers_for(call, model))
            call.native = request.native_body(body) if native else None
            found = shown(await self.gateway.retrieve_model(call, model))
        name_dropped(call, [] if native else apply_policies(body))
        return found

    @override
    async def ollama_ps(self, call: Call) -> models.OllamaPsResponse:
        return models.OllamaPsResponse(models=[])

    @override
    async def ollama_version(self, call: Call) -> models.OllamaVersionResponse:
        return models.OllamaVersionResponse(version=OLLAMA_VERSION)

    @override
    async def ollama_head_version(self, call: Call) -> None:
        return None

    @override
    async def ollama_pull(self, call: Call) -> NoReturn:
        _keeps_nothing("pull", "its providers' models are used as they are: see /api/tags")

    @override
    async def ollama_push(self, call: Call) -> NoReturn:
        _keeps_nothing("push", "push from the server that has the model")

    @override
    async def ollama_create(self, call: Call) -> NoReturn:
        _keeps_nothing("create", "create the model on a server of your own and configure it as a provider")

    @override
    async def ollama_copy(self, call: Call) -> NoReturn:
        _keeps_nothing("copy", "use the name that /api/tags lists")

    @override
    async def ollama_delete(self, call: Call) -> NoReturn:
        _keeps_nothing("delete", "which models there are is decided by the gateway's configuration")

    @override
    async def ollama_create_blob(self, call: Call, digest: str) -> NoReturn:
        _keeps_nothing("blobs", "upload files to the server that is to create a model of them")

    @override
    async def ollama_head_blob(self, call: Call, digest: str) -> NoReturn:
        _keeps_nothing("blobs", "ask the server that has them")

    async def _settle_native(self, call: Call, body: Body, model: str) -> bool:
        """Whether all who may answer speak Ollama's wire. Raises ModelNotFound, or InvalidRequest for odd fields."""
        providers = await self.gateway.providers_for(call, model)
        native = all(provider.wire == "ollama" for provider in providers)
        if native:
            call.native = request.native_body(body)
        else:
            refuse_unknown(providers[0], body)
        return native


def _loaded(body: models.OllamaChatRequest | models.OllamaGenerateRequest) -> str:
    return "unload" if request.unloads(body.keep_alive) else "load"


def _keeps_nothing(operation: str, advice: str) -> NoReturn:
    raise NotImplementedHere(f"The gateway keeps no models, so it does not offer {operation}: {advice}.")
