"""Whole replies of a known form, recognised by their bytes at a fraction of the cost of validation.

The replies of one model mostly differ in texts, times and counts only. Once one was relayed unchanged, its bytes become
a template: constant bytes around gaps for the contents of JSON strings and for whole numbers. As with `continuations`,
it is proved by validating a copy with other values in its gaps, which has to be the same reply but for these. JSON is
parsed from left to right, so bytes with the same constants, and any such values in the gaps, are that reply with other
values, and the contract does not depend on them. All other replies are validated.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast, override

import orjson
from pydantic import MISSING, BaseModel

from ai_gateway.conform.chunk_templates import are_texts
from ai_gateway.conform.reply import exact_json
from ai_gateway.conform.usage import divided, tokens_of
from ai_gateway.contract.call import Notes
from ai_gateway.contract.stream import Item
from ai_gateway.contract.tokens import Tokens, quickly
from gateway_contract.openai import models

KINDS = frozenset({models.CreateChatCompletionResponse, models.CreateCompletionResponse})
# Fields in which replies differ: unbounded texts, and numbers. Names beyond the contract are those of DeepSeek and
# compatible APIs for reasoning and cached tokens (api-docs.deepseek.com).
TEXTS = (
    "id",
    "model",
    "system_fingerprint",
    "content",
    "reasoning_content",
    "reasoning",
    "refusal",
    "text",
    "arguments",
)
NUMBERS = (
    *("created", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"),
    *("prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "audio_tokens"),
    *("accepted_prediction_tokens", "rejected_prediction_tokens"),
)
_DIGITS = 15  # JSON parsers may round longer numbers
_VALUE = re.compile(
    rb'"(?:(?:%b)"\s*:\s*"((?:[^"\\]++|\\.)*+)"|(?:%b)"\s*:\s*(0|[1-9][0-9]{0,14})(?=[,}\s]))'
    % ("|".join(TEXTS).encode(), "|".join(NUMBERS).encode())
)
_TEXT_MARK = "gateway-mark-3d8a-%d"
_FIRST_NUMBER = 10 ** (_DIGITS - 1)
# A candidate for a string's content up to an unescaped quote; the parser checks it. A pattern that excludes both
# characters takes eight times as long.
_TEXT = rb'([^"]*+(?:(?<=\\)"[^"]*+)*+)'
_NUMBER = rb"(0|[1-9][0-9]{0,14})"
_ID = rb'((?!")' + _TEXT[1:]  # an empty one is filled in
_MAX_LENGTH = 8 * 1024  # larger replies are mostly one text, which the validator reads as fast
_NAMES = frozenset((*TEXTS, *NUMBERS))
_WHOLE = {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 2}  # the counts that every usage has, in order
_MAX_GAPS = 64
# Models whose replies keep changing form are given up: each recognised reply earns what an unrecognised one costs, and
# learning costs as much as several.
_CREDIT, _MAX_CREDIT, _LEARNING = 32, 64, 8
_MAX_TEMPLATES = 3
_MAX_MODELS = 256  # callers choose models


class KnownReply[Rep: BaseModel](Item[Rep]):
    """A reply to relay. `kind` is its model's class; the model is only parsed on demand."""

    __slots__ = ()

    @property
    @override
    def model(self) -> Rep:
        kind, raw = cast("tuple[type[Rep], bytes]", self)
        exact: Rep = kind.__pydantic_validator__.validate_json(raw, strict=True)
        return exact


class Forms[Rep: BaseModel]:
    """The known forms of replies of one model at one provider. `recognise` a reply, or else `learn` it."""

    def __init__(self, kind: type[Rep]) -> None:
        self._kind = kind
        self._templates: list[_Template] = []
        self._credit = _CREDIT

    def recognise(self, raw: object, notes: Notes) -> Item[Rep] | None:
        """A reply to relay, after its usage is noted; None for one that has to be validated."""
        if self._credit <= 0 or not isinstance(raw, bytes) or len(raw) > _MAX_LENGTH:
            return None
        for template in self._templates:
            values = template.matched(raw)
            if values is not None:
                if self._credit < _MAX_CREDIT:
                    self._credit += 1
                template.note(values, notes)
                return quickly(KnownReply, (self._kind, raw))
        self._credit -= 1
        return None

    def learn(self, reply: Rep, raw: bytes) -> None:
        """Recognise replies of this form from now on. The given one was exact, and is relayed."""
        if self._credit > _LEARNING and len(raw) <= _MAX_LENGTH:
            self._credit -= _LEARNING
            if (template := _proven(reply, raw)) is not None:
                self._templates = [template, *self._templates][:_MAX_TEMPLATES]


_forms: dict[tuple[str, str, type[BaseModel]], Forms[Any]] = {}


def forms_of[Rep: BaseModel](provider: str, model: str, kind: type[Rep]) -> Forms[Rep] | None:
    """The known forms of this model's replies; None for kinds of replies that vary too much."""
    if kind not in KINDS:
        return None
    key = (provider, model, kind)
    forms = _forms.get(key)
    if forms is None:
        while len(_forms) >= _MAX_MODELS:
            del _forms[next(iter(_forms))]
        forms = _forms[key] = Forms(kind)
    return forms


@dataclass(slots=True)
class _Gap:
    """The values of a gap. Token counts have a place in the template's own usage."""

    pattern: bytes
    counts: dict[str, Any] | None = None
    name: str = ""


class _Template:
    """Constant bytes around gaps. `usage` is the usage of replies of this form, with the last one's numbers."""

    def __init__(self, constants: Sequence[bytes], gaps: Sequence[_Gap], reply: BaseModel) -> None:
        first, *others = map(re.escape, constants)
        pieces = [
            first,
            *(gap.pattern + other for gap, other in zip(gaps, others, strict=True)),
        ]
        self._pattern = re.compile(b"".join(pieces))
        values = vars(reply)
        usage, tier = values.get("usage"), values.get("service_tier")
        self._usage = usage if isinstance(usage, models.CompletionUsage) else None
        self._tier = tier if type(tier) is str else None
        self._parts = parts = _parts_of(self._usage)
        counted = [(at, gap.counts, gap.name) for at, gap in enumerate(gaps) if gap.counts is not None]
        counted.sort(key=lambda count: _WHOLE.get(count[2], len(_WHOLE)))
        self._counted = [at for at, _, _ in counted]
        self._counts = [(counts, name) for _, counts, name in counted]
        self._are_all = parts is not None and len(counted) == len(_WHOLE) + len(parts[1]) + len(parts[2])

    def matched(self, raw: bytes) -> tuple[bytes, ...] | None:
        """The values in the gaps of a reply of this form."""
        found = self._pattern.fullmatch(raw)
        if found is None:
            return None
        values = found.groups()
        return values if are_texts(values) else None  # digits are a text as well

    def note(self, values: Sequence[bytes], notes: Notes) -> None:
        """Note the usage and service tier of a reply with these values."""
        if self._usage is None:
            return
        numbers: list[int] = orjson.loads(b"[%b]" % b",".join([values[at] for at in self._counted]))
        if self._are_all and numbers[2] <= numbers[0] + numbers[1] and not any(numbers[3:]):
            # All are plain input and output, as in most replies.
            notes.tokens = quickly(Tokens, (numbers[0], numbers[1], 0, 0, 0, 0, 0, 0, 0, 0, 0))
        else:
            notes.tokens = self._divided(numbers)
        if self._tier is not None:
            notes.service_tier = self._tier

    def _divided(self, numbers: list[int]) -> Tokens:
        for (counts, name), number in zip(self._counts, numbers, strict=True):
            counts[name] = number
        if self._parts is None:
            return tokens_of(cast("models.CompletionUsage", self._usage))
        whole, read, made = self._parts
        return divided((whole["prompt_tokens"], whole["completion_tokens"], whole["total_tokens"]), read, made)


def _parts_of(usage: models.CompletionUsage | None) -> tuple[dict[str, int], dict[str, int], dict[str, int]] | None:
    """The counts of a usage and of its details; None if it has other fields."""
    if usage is None or usage.__pydantic_extra__:
        return None
    details = [each for each in (usage.prompt_tokens_details, usage.completion_tokens_details) if each is not MISSING]
    if any(each.__pydantic_extra__ for each in details):
        return None
    for each in details:
        for name in [name for name, value in vars(each).items() if value is MISSING]:
            del vars(each)[name]
    read, made = usage.prompt_tokens_details, usage.completion_tokens_details
    return vars(usage), vars(read) if read is not MISSING else {}, vars(made) if made is not MISSING else {}


def _proven(reply: BaseModel, raw: bytes) -> _Template | None:
    """The template of a reply; None if the proof of its gaps fails."""
    found = [*_VALUE.finditer(raw)]
    spots = [match.span(match.lastindex or 0) for match in found]
    are_texts = [raw[start - 1 : start] == b'"' for start, _ in spots]
    marks: list[object] = [_TEXT_MARK % at if is_text else _FIRST_NUMBER + at for at, is_text in enumerate(are_texts)]
    if not 0 < len(spots) <= _MAX_GAPS or any(str(mark).encode() in raw for mark in marks):
        return None
    constants = _constants(raw, spots)
    copy = exact_json(type(reply), _filled(constants, marks))
    if copy is None:
        return None
    gaps = [
        _Gap(_NUMBER if not is_text else _ID if match[0].startswith(b'"id"') else _TEXT)
        for match, is_text in zip(found, are_texts, strict=True)
    ]
    left = dict(zip(marks, gaps, strict=True))
    usage = vars(copy).get("usage")
    counts = [id(fields) for fields, _, _ in _slots(usage)]
    for (fields, name, mark), (_, _, value) in zip(_slots(copy), _slots(reply), strict=False):
        gap = left.pop(mark, None)
        if gap is not None:
            fields[name] = value
            if id(fields) in counts:
                gap.counts, gap.name = fields, name
    return _Template(constants, gaps, copy) if not left and copy == reply else None


def _slots(value: object) -> Iterator[tuple[dict[str, Any], str, object]]:
    """The places of such values in a reply: the fields of an object, and a name."""
    if isinstance(value, list):
        for each in value:
            yield from _slots(each)
    elif isinstance(value, BaseModel | dict):
        for fields in (vars(value), value.model_extra or {}) if isinstance(value, BaseModel) else (value,):
            for name, inner in list(fields.items()):
                if name in _NAMES and isinstance(inner, str | int):
                    yield fields, name, inner
                else:
                    yield from _slots(inner)


def _constants(raw: bytes, spots: Sequence[tuple[int, int]]) -> list[bytes]:
    edges = [0, *(edge for spot in spots for edge in spot), len(raw)]
    return [raw[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _filled(constants: Sequence[bytes], values: Sequence[object]) -> bytes:
    first, *others = constants
    return b"".join([first, *(str(value).encode() + other for value, other in zip(values, others, strict=True))])
