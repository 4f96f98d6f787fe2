"""Usage and costs in time buckets, like OpenAI's service."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import override

from ai_gateway.accounts.entities import ApiKey
from ai_gateway.accounts.latency import Latency
from ai_gateway.accounts.store.base import Store, StoreError
from ai_gateway.accounts.usage import Addable, Bucket, Dimension, Sum, UsageQuery, latencies, usage
from ai_gateway.api.admin.base import Administration, store_unavailable
from ai_gateway.api.admin.buckets import Part, cursor, page_of, part_of_time, usd
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item
from gateway_contract.openai_admin import models

_COMPLETIONS = frozenset({"createChatCompletion", "createCompletion", "createResponse", "createMessage"})
_EMBEDDINGS = frozenset({"createEmbedding"})
_MODERATIONS = frozenset({"createModeration"})
_IMAGES = frozenset({"createImage", "createImageEdit", "createImageVariation"})
_SPEECHES = frozenset({"createSpeech"})
_SEARCHES = "organization.usage.web_searches.result"
_TRANSCRIPTIONS = frozenset({"createTranscription", "createTranslation"})
# Fields to group by, and their columns. A user is the key's owner; there are no batches.
COLUMNS: Mapping[str, Dimension] = {
    "project_id": "project_id",
    "user_id": "key_id",
    "api_key_id": "key_id",
    "model": "upstream_model",
    "requested_model": "model",
    "provider": "provider",
    "operation": "operation",
    "service_tier": "service_tier",
}
# Approximate maximum of sums on a page: a month by day, key and model, for 200 keys with eight models.
MAX_SUMS = 50_000
type Grouped[Summed] = dict[tuple[str | None, ...], Summed]


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of calls; None for any."""

    projects: Collection[str] | None = None
    users: Collection[str] | None = None
    keys: Collection[str] | None = None
    models: Collection[str] = ()
    providers: Collection[str] | None = None
    operations: Collection[str] | None = None
    is_batch: bool | None = None


class Summaries(Administration):
    """The common base of usage operations."""

    async def sums(
        self, part: Part, by: Sequence[str], filters: Filters, most: int | None = MAX_SUMS
    ) -> tuple[list[tuple[Bucket[Sum], Grouped[Sum]]], Part]:
        """The buckets of a page, with their sums by the grouping values.

        A page ends early if it would have too many sums. Also returns the part of time that it covers.
        """
        found = await self._buckets(part, by, filters, lambda store, question: usage(store, question, most))
        if found and found[-1][0].end < part.end:
            part = replace(part, end=found[-1][0].end, next_page=cursor(found[-1][0].end))
        return found, part

    async def latencies(self, part: Part, by: Sequence[str], filters: Filters) -> list[Grouped[Latency]]:
        """The latencies of the calls in these buckets."""
        return [grouped for _, grouped in await self._buckets(part, by, filters, latencies)]

    async def _buckets[Summed: Addable](
        self,
        part: Part,
        by: Sequence[str],
        filters: Filters,
        query_buckets: Callable[[Store, UsageQuery], Awaitable[list[Bucket[Summed]]]],
    ) -> list[tuple[Bucket[Summed], Grouped[Summed]]]:
        only: dict[Dimension, Collection[str]] = {}
        if filters.projects is not None:
            only["project_id"] = filters.projects
        if filters.keys is not None or filters.users is not None:
            only["key_id"] = self._keys(filters)
        if filters.providers is not None:
            only["provider"] = filters.providers
        if filters.operations is not None:
            only["operation"] = filters.operations
        if filters.is_batch:
            only["operation"] = ()  # the gateway has no batches
        columns = list(dict.fromkeys(COLUMNS[name] for name in by if name in COLUMNS))
        question = UsageQuery(part.start, part.end, part.width, columns, only, filters.models)
        try:
            found = await query_buckets(self.directory.store, question) if part.end > part.start else []
        except StoreError as error:
            raise store_unavailable(error) from error
        return [(bucket, self._grouped(bucket, columns, by)) for bucket in found]

    def _grouped[Summed: Addable](
        self, bucket: Bucket[Summed], columns: Sequence[Dimension], by: Sequence[str]
    ) -> Grouped[Summed]:
        grouped: Grouped[Summed] = {}
        for values, found in bucket.sums.items():
            named = dict(zip(columns, values, strict=True))
            of = tuple(self._value(name, named) for name in by)
            known = grouped.get(of)
            grouped[of] = found if known is None else known + found
        return grouped

    def _value(self, name: str, named: Mapping[Dimension, str]) -> str | None:
        if name not in COLUMNS:
            return None
        value = named[COLUMNS[name]] or None
        return self._owner(value) if name == "user_id" and value is not None else value

    def _owner(self, key_id: str) -> str | None:
        key = self.directory.get(ApiKey, key_id)
        return key.service_account_id if key is not None else None

    def _keys(self, filters: Filters) -> Collection[str]:
        keys = set(filters.keys) if filters.keys is not None else None
        if filters.users is None:
            return keys or ()
        owned = {key.id for key in self.directory.all(ApiKey) if key.service_account_id in filters.users}
        return owned if keys is None else owned & keys


class Usage(Summaries):
    @override
    async def usage_completions(self, call: Call, query: models.UsageCompletionsQuery) -> Item[models.UsageResponse]:
        filters = _filters(query, _COMPLETIONS, is_batch=query.batch)
        return await self._answer("organization.usage.completions.result", _part(query), query.group_by, filters)

    @override
    async def usage_embeddings(self, call: Call, query: models.UsageEmbeddingsQuery) -> Item[models.UsageResponse]:
        filters = _filters(query, _EMBEDDINGS)
        return await self._answer("organization.usage.embeddings.result", _part(query), query.group_by, filters)

    @override
    async def usage_moderations(self, call: Call, query: models.UsageModerationsQuery) -> Item[models.UsageResponse]:
        filters = _filters(query, _MODERATIONS)
        return await self._answer("organization.usage.moderations.result", _part(query), query.group_by, filters)

    @override
    async def usage_images(self, call: Call, query: models.UsageImagesQuery) -> Item[models.UsageResponse]:
        filters = _filters(query, () if query.sizes or query.sources else _IMAGES)
        return await self._answer("organization.usage.images.result", _part(query), query.group_by, filters)

    @override
    async def usage_audio_speeches(
        self, call: Call, query: models.UsageAudioSpeechesQuery
    ) -> Item[models.UsageResponse]:
        filters = _filters(query, _SPEECHES)
        return await self._answer("organization.usage.audio_speeches.result", _part(query), query.group_by, filters)

    @override
    async def usage_audio_transcriptions(
        self, call: Call, query: models.UsageAudioTranscriptionsQuery
    ) -> Item[models.UsageResponse]:
        filters = _filters(query, _TRANSCRIPTIONS)
        return await self._answer(
            "organization.usage.audio_transcriptions.result", _part(query), query.group_by, filters
        )

    @override
    async def usage_web_search_calls(
        self, call: Call, query: models.UsageWebSearchCallsQuery
    ) -> Item[models.UsageResponse]:
        # The context sizes are unknown.
        filters = _filters(query, () if query.context_levels else _COMPLETIONS)
        return await self._answer(_SEARCHES, _part(query), query.group_by, filters)

    @override
    async def usage_code_interpreter_sessions(
        self, call: Call, query: models.UsageCodeInterpreterSessionsQuery
    ) -> Item[models.UsageResponse]:
        kind = "organization.usage.code_interpreter_sessions.result"
        return await self._answer(kind, _part(query), (), Filters(operations=()))

    @override
    async def usage_costs(self, call: Call, query: models.UsageCostsQuery) -> Item[models.UsageResponse]:
        part = part_of_time(query.start_time, query.end_time, query.bucket_width, query.limit, query.page, costs=True)
        group_by = query.group_by or ()
        wanted = frozenset(query.line_items or ())
        by: list[str] = [name for name in group_by if name != "line_item"]
        if "line_item" in group_by or wanted:  # the line item: a model of a provider
            by += [name for name in ("provider", "model") if name not in by]
        found, part = await self.sums(part, by, Filters(query.project_ids, keys=query.api_key_ids))
        results = [_costs(by, grouped, group_by, wanted) for _, grouped in found]
        return _item(found, results, part)

    async def _answer(
        self, kind: str, part: Part, group_by: Sequence[str] | None, filters: Filters
    ) -> Item[models.UsageResponse]:
        by = list(dict.fromkeys(group_by or ()))
        found, part = await self.sums(part, by, filters)
        searches = kind == _SEARCHES
        results = [
            [
                {"object": kind, **_counted(kind, each), **_grouping(by, values)}
                for values, each in grouped.items()
                if each.searching or not searches
            ]
            for _, grouped in found
        ]
        return _item(found, results, part)


type _Query = (
    models.UsageCompletionsQuery
    | models.UsageEmbeddingsQuery
    | models.UsageModerationsQuery
    | models.UsageImagesQuery
    | models.UsageAudioSpeechesQuery
    | models.UsageAudioTranscriptionsQuery
    | models.UsageWebSearchCallsQuery
)


def _part(
    query: _Query | models.UsageCodeInterpreterSessionsQuery,
) -> Part:
    return part_of_time(query.start_time, query.end_time, query.bucket_width, query.limit, query.page)


def _filters(
    query: _Query,
    operations: Collection[str],
    *,
    is_batch: bool | None = None,
) -> Filters:
    return Filters(
        query.project_ids,
        query.user_ids,
        query.api_key_ids,
        query.models or (),
        operations=operations,
        is_batch=is_batch,
    )


def _item(
    found: Sequence[tuple[Bucket[Sum], Grouped[Sum]]], results: Sequence[Sequence[Mapping[str, object]]], part: Part
) -> Item[models.UsageResponse]:
    raw = page_of([bucket for bucket, _ in found], results, part)
    more = part.next_page is not None
    # To read all of it again would take as long as to write it.
    page = models.UsageResponse.model_construct(object="page", data=[], has_more=more, next_page=part.next_page)
    return Item(page, raw)


def _grouping(by: Sequence[str], values: Sequence[str | None]) -> dict[str, object]:
    """The grouping values; other fields are null, as in OpenAI's service."""
    grouped: dict[str, object] = dict.fromkeys(("project_id", "user_id", "api_key_id", "model"))
    grouped.update(zip(by, values, strict=True))
    if "batch" in grouped:
        grouped["batch"] = False
    return grouped


def _counted(kind: str, found: Sum) -> dict[str, object]:
    tokens = found.tokens
    requests: dict[str, object] = {"num_model_requests": found.requests}
    match kind.split(".")[2]:
        case "completions":
            written = tokens.cache_write + tokens.cache_write_1h
            return requests | {
                "input_tokens": tokens.whole_input,
                "input_cached_tokens": tokens.cache_read,
                "input_cache_write_tokens": written,
                "input_uncached_tokens": tokens.whole_input - tokens.cache_read - written,
                "output_tokens": tokens.whole_output,
                "output_text_tokens": tokens.output + tokens.reasoning,
                "input_audio_tokens": tokens.input_audio,
                "output_audio_tokens": tokens.output_audio,
                "input_image_tokens": tokens.input_image,
                "output_image_tokens": tokens.output_image,
            }
        case "web_searches":
            return {"num_model_requests": found.searching, "num_requests": tokens.searches}
        case "embeddings" | "moderations":
            return requests | {"input_tokens": tokens.whole_input}
        case "images":
            return requests | {"images": 0}
        case "audio_speeches":
            return requests | {"characters": 0}
        case _:
            return requests | {"seconds": 0}


def _costs(
    by: Sequence[str], grouped: Mapping[tuple[str | None, ...], Sum], group_by: Sequence[str], wanted: Collection[str]
) -> list[dict[str, object]]:
    """The costs of a bucket grouped by `group_by`; of the `wanted` line items only, if any are named."""
    totals: dict[tuple[str | None, ...], tuple[Mapping[str, str | None], int, int]] = {}
    for values, found in grouped.items():
        named = dict(zip(by, values, strict=True))
        for item, cost, unpriced in (
            _line_items(named, found) if "model" in by else [(None, found.cost, found.unpriced)]
        ):
            if wanted and item not in wanted:
                continue
            known = {**named, "line_item": item}
            key = tuple(known[name] for name in group_by)
            _, before, uncounted = totals.get(key, (known, 0, 0))
            totals[key] = known, before + cost, uncounted + unpriced
    return [_line(named, group_by, cost, unpriced) for named, cost, unpriced in totals.values()]


def _line_items(named: Mapping[str, str | None], found: Sum) -> Iterator[tuple[str, int, int]]:
    """The line items of a model, for its tokens and for its searches: name, cost and requests without a price."""
    item = f"{named['provider']}/{named['model']}"
    yield item, found.cost - found.search_cost, found.unpriced
    if found.search_cost:
        yield f"{item}, web searches", found.search_cost, 0


def _line(named: Mapping[str, str | None], group_by: Sequence[str], cost: int, unpriced: int) -> dict[str, object]:
    result: dict[str, object] = {
        "object": "organization.costs.result",
        "amount": {"value": usd(cost), "currency": "usd"},
        "num_unpriced_requests": unpriced,
    }
    for name in ("line_item", "project_id", "api_key_id", *(("provider",) if "provider" in group_by else ())):
        result[name] = named.get(name) if name in group_by else None
    return result
