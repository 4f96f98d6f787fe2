"""Usage and costs, in buckets of time."""

from typing import override

from ai_gateway.api.admin.base import Administration
from ai_gateway.contract.call import Call
from ai_gateway.errors import NotImplementedHere
from gateway_contract.openai_admin import models


class Usage(Administration):
    @override
    async def usage_completions(self, call: Call, query: models.UsageCompletionsQuery) -> models.UsageResponse:
        raise _later()

    @override
    async def usage_embeddings(self, call: Call, query: models.UsageEmbeddingsQuery) -> models.UsageResponse:
        raise _later()

    @override
    async def usage_moderations(self, call: Call, query: models.UsageModerationsQuery) -> models.UsageResponse:
        raise _later()

    @override
    async def usage_images(self, call: Call, query: models.UsageImagesQuery) -> models.UsageResponse:
        raise _later()

    @override
    async def usage_audio_speeches(self, call: Call, query: models.UsageAudioSpeechesQuery) -> models.UsageResponse:
        raise _later()

    @override
    async def usage_audio_transcriptions(
        self, call: Call, query: models.UsageAudioTranscriptionsQuery
    ) -> models.UsageResponse:
        raise _later()

    @override
    async def usage_web_search_calls(self, call: Call, query: models.UsageWebSearchCallsQuery) -> models.UsageResponse:
        raise _later()

    @override
    async def usage_code_interpreter_sessions(
        self, call: Call, query: models.UsageCodeInterpreterSessionsQuery
    ) -> models.UsageResponse:
        raise _later()

    @override
    async def usage_costs(self, call: Call, query: models.UsageCostsQuery) -> models.UsageResponse:
        raise _later()


def _later() -> NotImplementedHere:
    return NotImplementedHere("Usage is not counted yet.")
