"""Conforms one attempt's reply to the contract, in the provider's mode: repair, enforce or observe."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import MISSING, BaseModel, ValidationError

from ai_gateway.conform.chunks import AnyChunk, text_size
from ai_gateway.conform.known_chunks import Facts, KnownChunks
from ai_gateway.conform.objects import ReplyContext
from ai_gateway.conform.refused_usage import note_refused
from ai_gateway.conform.reply import exact_json, repair
from ai_gateway.conform.rules import (
    DROP_INVALID,
    FILL_USAGE,
    READ_NUMBER,
    READ_TEXT,
    RULES,
    SKIP_EVENT,
    UNREPAIRABLE,
    Rule,
)
from ai_gateway.conform.source import Source
from ai_gateway.conform.surrogates import SplitSurrogates
from ai_gateway.conform.usage import GROQ, ImpossibleCount, tokens_of
from ai_gateway.contract.budget import UNCHARGED, parsed_size
from ai_gateway.contract.call import Attempt
from ai_gateway.contract.lenient_json import NUMBER, TEXT, read_leniently, whole_texts
from ai_gateway.contract.stream import DONE, Done, Item, Received
from ai_gateway.errors import UpstreamError, UpstreamInvalidResponse
from ai_gateway.observability.metrics import Event, count
from gateway_contract.openai import models

DONE_MARK = b"[DONE]"
_OF_CHUNKS = frozenset({"choices", "usage"})
_READ: dict[str, Rule] = {NUMBER: READ_NUMBER, TEXT: READ_TEXT}


class Conformer:
    """Conforms the reply or chunks of one attempt. `model` is the one that was requested.

    `repair` applies the rules and reports them; `enforce` raises UpstreamInvalidResponse where one would apply;
    `observe` reports them and relays the upstream's bytes. Translated replies have no such bytes, so they are repaired
    even then. `content_fields` has the fields with content of each choice of a stream: see StreamState. `known` are the
    forms of its chunks, if there are any, and `facts` those of the last event. `usage_beside` is a usage in `x_groq`.
    """

    __slots__ = (
        "_allocation", "_charged", "_enforces", "_halves", "_model", "_notes", "_source",
        "content_fields", "facts", "known", "observes", "request_id", "usage_beside",
    )  # fmt: skip

    def __init__(self, source: Source, attempt: Attempt, model: str) -> None:
        self._source = source
        self._notes = attempt.notes
        self.content_fields: dict[int, set[str]] = {}
        self.known: KnownChunks[Any] | None = None
        self.facts: Facts | None = None
        self.usage_beside: models.CompletionUsage | None = None
        call = attempt.call
        self._allocation = call.allocation
        self._charged = 0
        self._model = model
        self.request_id = call.request_id
        self._halves: SplitSurrogates | None = None
        mode = source.conformance
        self._enforces = mode == "enforce"
        self.observes = mode == "observe"
        attempt.repaired = self.report_named

    def report(self, rule: Rule) -> None:
        """Report an applied rule. Raises UpstreamInvalidResponse if the mode does not allow repairs."""
        self._report_all([rule])

    def report_named(self, name: str) -> None:
        """Report a rule that a provider applied, by its name. Raises as `report` does."""
        self._report_all([RULES[name]])

    def _report_all(self, applied: Iterable[Rule]) -> None:
        rules = list(applied)
        if self._enforces and (refused := [rule.name for rule in rules if not rule.advisory]):
            raise UpstreamInvalidResponse.off_contract(detail=f"would take {', '.join(refused)}")
        for rule in rules:
            count(Event.REPAIR, self._source.name, rule.name)
            self._notes.repairs |= {rule.name}

    def note_chunk(self, chunk: AnyChunk) -> None:
        """Count a chunk of a stream and the text in it.

        The service tier is read from the first one, for streams that end without usage.
        """
        notes = self._notes
        notes.chunks += 1
        notes.text_bytes += text_size(chunk) if self.facts is None else self.facts.size
        if notes.chunks == 1:
            self._note_tier(chunk.__dict__)

    def item[Model: BaseModel](self, model: type[Model], received: Received[Model]) -> Item[Model]:
        """A reply or chunk as the exact model. Raises the error if it is one, or UpstreamInvalidResponse."""
        if isinstance(received, bytes):
            if len(received) > UNCHARGED:
                self._charge(received)
            exact = exact_json(model, received)
            item = Item(exact, received) if exact is not None else self._inexact(model, received)
        elif isinstance(received, dict):
            try:
                item = Item(model.model_validate(received, strict=True))
            except ValidationError:
                item = Item(self._repaired(model, received))
        else:
            item = Item(received)
        return self._counted(item)

    def _counted[Model: BaseModel](self, item: Item[Model]) -> Item[Model]:
        """The same item, after its usage and service tier are noted."""
        values = item.model.__dict__
        usage = values.get("usage")
        if usage is None or usage is MISSING:
            if (more := item.model.__pydantic_extra__) and GROQ in more:
                self._count_beside(more[GROQ])
            return item
        try:
            tokens = tokens_of(usage)
        except ImpossibleCount:
            return self._without_usage(item)
        if FILL_USAGE.name not in self._notes.repairs:
            self._notes.tokens = tokens
        self._note_tier(values)
        return item

    def _count_beside(self, value: object) -> None:
        """Count the usage of `x_groq`, or of a refused reply, until one comes in its own place.

        Impossible counts are none.
        """
        usage = value.get("usage") if isinstance(value, dict) else None
        if isinstance(usage, dict):
            with suppress(ValidationError, ImpossibleCount):
                # Those of embeddings have no completion.
                counts = models.CompletionUsage.model_validate({"completion_tokens": 0, **usage}, strict=True)
                tokens = tokens_of(counts)
                self.usage_beside = counts
                if self._notes.tokens is None:
                    self._notes.tokens = tokens

    def _note_tier(self, values: Mapping[str, object]) -> None:
        tier = values.get("service_tier")
        if type(tier) is str:
            self._notes.service_tier = tier

    def _without_usage[Model: BaseModel](self, item: Item[Model]) -> Item[Model]:
        """The same item without impossible counts. Raises UpstreamInvalidResponse if usage is required."""
        self.report(DROP_INVALID)
        if self.observes:
            return item
        if type(item.model).model_fields["usage"].is_required():
            raise UpstreamInvalidResponse.off_contract(detail="usage: no count of tokens")
        bare = item.model.model_copy(update={"usage": None})
        bare.model_fields_set.discard("usage")
        return Item(bare)

    def _charge(self, raw: bytes) -> None:
        """Charge the memory of a parsed reply; for a stream, which is parsed event by event, of the largest event."""
        more = parsed_size(raw) - self._charged
        if more > 0:
            self._allocation.charge_at_most(more, "replies")
            self._charged += more

    def event[Model: BaseModel](self, model: type[Model], received: Received[Model]) -> Item[Model] | Done | None:
        """The same for an event of a stream, which may also be its terminator, or not a chunk."""
        if isinstance(received, bytes):
            if len(received) > UNCHARGED:
                self._charge(received)
            exact = self.exact(model, received)
            if exact is not None and self.facts is not None:  # without usage
                return Item(exact, received)
            item = Item(exact, received) if exact is not None else self._inexact_event(model, received)
            return self._counted(item) if isinstance(item, Item) else item
        self.facts = None
        return self.item(model, received)

    def exact[Model: BaseModel](self, model: type[Model], raw: bytes) -> Model | None:
        """A chunk as the exact model, if it is one already."""
        if self.known is None:
            return exact_json(model, raw)
        chunk, self.facts = self.known.exact(raw)
        return chunk

    def _inexact_event[Model: BaseModel](self, model: type[Model], raw: bytes) -> Item[Model] | Done | None:
        if raw.strip() == DONE_MARK:  # surrounded by blanks
            return DONE
        value, text_repairs = self._read(raw)
        self._halves = self._halves or SplitSurrogates()
        if self._halves.join(value):
            text_repairs.add(TEXT)
        if not _is_chunk(value) and self._source.error_in(value) is None:
            self.report(SKIP_EVENT)
            return Item(model.model_construct(choices=[]), raw) if self.observes else None
        return self._made(model, value, text_repairs, raw)

    def _inexact[Model: BaseModel](self, model: type[Model], raw: bytes) -> Item[Model]:
        return self._made(model, *self._read(raw), raw)

    def _read(self, raw: bytes) -> tuple[object, set[str]]:
        text_repairs: set[str] = set()
        try:
            return read_leniently(raw, text_repairs), text_repairs
        except ValueError as error:
            raise UpstreamInvalidResponse.not_json(self._source.name, error, raw) from None

    def _made[Model: BaseModel](
        self, model: type[Model], value: object, text_repairs: set[str], raw: bytes
    ) -> Item[Model]:
        if (failure := self._source.error_in(value)) is not None:
            raise failure
        value = whole_texts(value, text_repairs)
        self._report_all(_READ[kind] for kind in sorted(text_repairs))
        if not self.observes:
            return Item(self._repaired(model, value))
        try:
            return Item(self._repaired(model, value), raw)
        except UpstreamError:
            self.report(UNREPAIRABLE)
            return Item(model.model_construct(choices=[], data=[]), raw)

    def _repaired[Model: BaseModel](self, model: type[Model], value: object) -> Model:
        try:
            repaired, rules = repair(model, value, ReplyContext(self._model, self.request_id, self.content_fields))
            self._report_all(rules)
        except UpstreamInvalidResponse:
            self._count_beside(value)
            note_refused(self._notes, value)
            raise
        return repaired


def _is_chunk(value: object) -> bool:
    """Whether an event is a chunk: upstreams also send pings, states and statistics."""
    return isinstance(value, dict) and not value.keys().isdisjoint(_OF_CHUNKS)
