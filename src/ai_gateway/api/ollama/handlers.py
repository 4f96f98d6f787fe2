"""The handlers of Ollama's API, for providers of any wire."""

from dataclasses import dataclass
from typing import NoReturn, override

from ai_gateway.api.access import Access
from ai_gateway.api.boundary import WireBoundary
from ai_gateway.api.model_list import listed_models, retrieved_model
from ai_gateway.api.ollama.answer import answered, naming_model
from ai_gateway.api.ollama.dropped import note_dropped, refuse_unknown
from ai_gateway.config.constants import OLLAMA_VERSION
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.budget import UNCHARGED
from ai_gateway.contract.call import Call, Native
from ai_gateway.contract.stream import Item, Stream
from ai_gateway.contract.wire import OLLAMA
from ai_gateway.errors import MissingParameter, NotImplementedHere
from ai_gateway.gateway import Chat, Completion, Gateway
from ai_gateway.routing.resolver import Resolution
from ai_gateway.translate.extra_fields import Fields, carry
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


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A call with its model's id and targets. `native`: all targets speak Ollama's wire."""

    call: Call
    model: str
    resolution: Resolution
    native: bool


class OllamaHandlers(WireBoundary, Handlers):
    def __init__(self, gateway: Gateway, access: Access, body_limits: BodyLimits) -> None:
        super().__init__(OLLAMA, access, body_limits)
        self.gateway = gateway

    @override
    async def ollama_chat(
        self, call: Call, body: models.OllamaChatRequest
    ) -> models.OllamaChatResponse | Stream[models.OllamaChatStreamEvent]:
        watch = Stopwatch()
        writer = ChatWriter(body.model, watch)
        call.allocation.charge_translation(request.translated_size(body) if call.allocation.size > UNCHARGED else 0)
        with naming_model(body.model):
            to = await self._resolved(call, body)
            if not body.messages:
                if to.native:  # the request loads a model where that is possible
                    whole = body.model_copy(update={"stream": False})
                    load = request.chat(whole, to.model, native=True).request
                    await self.gateway.chat(to.call, load, to.resolution)
                note_dropped(call, [] if to.native else apply_policies(body))
                return writer.empty(_loaded(body))
            translated = request.chat(body, to.model, native=to.native)
            watch.provider_called()
            answer = await self.gateway.chat(to.call, translated.request, to.resolution)
        return answered(to.call, body.model, translated.dropped, answer, writer)

    @override
    async def ollama_generate(
        self, call: Call, body: models.OllamaGenerateRequest
    ) -> models.OllamaGenerateResponse | Stream[models.OllamaGenerateStreamEvent]:
        watch = Stopwatch()
        writer = GenerateWriter(body.model, watch)
        call.allocation.charge_translation(request.translated_size(body) if call.allocation.size > UNCHARGED else 0)
        with naming_model(body.model):
            to = await self._resolved(call, body)
            if not body.prompt:
                if to.native:  # as above
                    whole = body.model_copy(update={"stream": False})
                    load = request.complete(whole, to.model, native=True).request
                    await self.gateway.complete(to.call, load, to.resolution)
                note_dropped(call, [] if to.native else apply_policies(body))
                return writer.empty(_loaded(body))
            answer, dropped = await self._generated(to, body, watch)
        return answered(to.call, body.model, dropped, answer, writer)

    async def _generated(
        self, to: _Resolved, body: models.OllamaGenerateRequest, watch: Stopwatch
    ) -> tuple[Chat | Completion, list[str]]:
        """A raw prompt becomes a completion; any other a chat, which far more models support."""
        if to.native or request.is_text_completion(body):
            text = request.complete(body, to.model, native=to.native)
            watch.provider_called()
            return await self.gateway.complete(to.call, text.request, to.resolution), text.dropped
        question = request.generate(body, to.model)
        watch.provider_called()
        return await self.gateway.chat(to.call, question.request, to.resolution), question.dropped

    @override
    async def ollama_embed(self, call: Call, body: models.OllamaEmbedRequest) -> models.OllamaEmbedResponse:
        watch = Stopwatch()
        vectors, measured, extras = await self._embedded(call, body, body.input or "", body.dimensions, watch)
        kept = {name: value for name, value in measured.items() if name in models.OllamaEmbedResponse.model_fields}
        return carry(extras, models.OllamaEmbedResponse(model=body.model, embeddings=vectors, **kept))

    @override
    async def ollama_embeddings(
        self, call: Call, body: models.OllamaEmbeddingsRequest
    ) -> models.OllamaEmbeddingsResponse:
        vectors, _, extras = await self._embedded(call, body, body.prompt or "", None, Stopwatch())
        first = vectors[0] if vectors else []
        if isinstance(body.prompt, list):
            return carry(extras, models.OllamaEmbeddingsResponse(embedding=first, embeddings=vectors))
        return carry(extras, models.OllamaEmbeddingsResponse(embedding=first))

    async def _embedded(
        self,
        call: Call,
        body: models.OllamaEmbedRequest | models.OllamaEmbeddingsRequest,
        texts: str | list[str],
        dimensions: int | None,
        watch: Stopwatch,
    ) -> tuple[list[list[float]], dict[str, int], Fields]:
        """The vectors, the usage, and further fields of the reply; empty for no input."""
        with naming_model(body.model):
            to = await self._resolved(call, body)
            dropped = [] if to.native else apply_policies(body)
            if not texts:
                note_dropped(call, dropped)
                return [], watch.measures(0, 0), {}
            watch.provider_called()
            vectors = (
                await self.gateway.embed(to.call, request.embed(to.model, texts, dimensions), to.resolution)
            ).model
        note_dropped(call, dropped)
        measured = watch.measures(vectors.usage.prompt_tokens, 0)
        measured = prefer_upstream_timings(measured, reply.durations(vectors.model_extra))
        return reply.embeddings(vectors), measured, reply.vector_extras(vectors)

    @override
    async def ollama_list(self, call: Call) -> models.OllamaListResponse:
        listed = await listed_models(self.gateway, call)
        listing = listed.model if isinstance(listed, Item) else listed
        return models.OllamaListResponse(models=summaries(listing.data))

    @override
    async def ollama_head_tags(self, call: Call) -> None:
        return None

    @override
    async def ollama_show(self, call: Call, body: models.OllamaShowRequest) -> models.OllamaShowResponse:
        name = body.model or body.name
        if not name:
            raise MissingParameter("model is required: add it.", param="model")
        with naming_model(name):
            to = await self._resolved(call, body, name)
            described = await retrieved_model(self.gateway, to.call, to.model, (to.model, to.resolution))
        note_dropped(call, [] if to.native else apply_policies(body))
        return shown(described.model if isinstance(described, Item) else described)

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

    async def _resolved(self, call: Call, body: Body | models.OllamaShowRequest, name: str | None = None) -> _Resolved:
        """Resolve the call's targets. Raises ModelNotFound, or InvalidRequest for unknown fields."""
        model, resolution = await self.gateway.resolve(call, name or body.model or "")
        native = all("ollama" in target.provider.wires for target in resolution.targets)
        native = native and not request.has_gateway_tools(body)
        if native:
            # The call itself, since the reservation of a copy would never be settled.
            call.native = Native("ollama", request.native_body(body))
        elif name is None:
            refuse_unknown(resolution.targets[0].provider, body)
        return _Resolved(call, model, resolution, native)


def _loaded(body: models.OllamaChatRequest | models.OllamaGenerateRequest) -> str:
    return "unload" if request.unloads(body.keep_alive) else "load"


def _keeps_nothing(operation: str, advice: str) -> NoReturn:
    raise NotImplementedHere(f"The gateway keeps no models, so it does not offer {operation}: {advice}.")
