"""Whole replies of a known form, recognised by their bytes at a fraction of what validation costs.

The replies of one model mostly differ in texts, times and counts alone. Once one was relayed as it came, its bytes
become a template: constant bytes around gaps for the insides of JSON strings and for whole numbers. As with
`continuations`, it is proved by validating a copy with others in its gaps, which has to be the same reply but for
these. JSON is read from left to right, so what has the same constant bytes, with any such values in the gaps, is that
reply with other values, and nothing of the contract depends on which they are. All other replies are validated.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast, override

from pydantic import MISSING, BaseModel
from pydantic_core import from_json

from ai_gateway.conform.reply import exact_json
from ai_gateway.conform.usage import divided, tokens_of
from ai_gateway.contract.call import Notes
from ai_gateway.contract.stream import Item
from gateway_contract.openai import models

KINDS = frozenset({models.CreateChatCompletionResponse, models.CreateCompletionResponse})
# What replies differ in: texts without bounds, and numbers that mean nothing but themselves. The names that the
# contract does not know are what DeepSeek, and those who have its wire, call thinking and cached tokens.
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
_DIGITS = 15  # of more, not every number is one that a JSON reader keeps
_VALUE = re.compile(
    rb'"(?:(?:%b)"\s*:\s*"((?:[^"\\]++|\\.)*+)"|(?:%b)"\s*:\s*(0|[1-9][0-9]{0,14})(?=[,}\s]))'
    % ("|".join(TEXTS).encode(), "|".join(NUMBERS).encode())
)
_TEXT_MARK = "gateway-mark-3d8a-%d"
_FIRST_NUMBER = 10 ** (_DIGITS - 1)
# What may be a text up to a quote that is not escaped: whether it is one, its parser says. To look for either character
# at once takes eight times as long.
_TEXT = rb'([^"]*+(?:(?<=\\)"[^"]*+)*+)'
_NUMBER = rb"(0|[1-9][0-9]{0,14})"
_LONGEST = 8 * 1024  # of more, most is one text, which the validator reads as fast
_NAMES = frozenset((*TEXTS, *NUMBERS))
_MAX_GAPS = 64
# A model whose replies keep being of other forms is not looked at any more: each that is known earns what one that is
# not costs, and learning one costs as much as several.
_CREDIT, _MAX_CREDIT, _LEARNING = 32, 64, 8
_MAX_TEMPLATES = 3
_MAX_MODELS = 256  # callers choose models


class KnownReply[Rep: BaseModel](Item[Rep]):
    """A reply that goes out as it came. Its model, in whose place its class stands, is made when it is asked for."""

    __slots__ = ()

    @property
    @override
    def model(self) -> Rep:
        kind, raw = cast("tuple[type[Rep], bytes]", self)
        exact: Rep = kind.__pydantic_validator__.validate_json(raw, strict=True)
        return exact


class Forms[Rep: BaseModel]:
    """The forms of the replies of one model at one provider. `recognise`, and what it does not know, `learn`."""

    def __init__(self, kind: type[Rep]) -> None:
        self._kind = kind
        self._templates: list[_Template] = []
        self._credit = _CREDIT

    def recognise(self, raw: object, notes: Notes) -> Item[Rep] | None:
        """A reply that is to be relayed as it came, once it is noted what it took; None for one to be looked at."""
        if self._credit <= 0 or not isinstance(raw, bytes) or len(raw) > _LONGEST:
            return None
        for template in self._templates:
            values = template.matched(raw)
            if values is not None:
                self._credit = min(_MAX_CREDIT, self._credit + 1)
                template.note(values, notes)
                return KnownReply(cast("Rep", self._kind), raw)
        self._credit -= 1
        return None

    def learn(self, reply: Rep, raw: bytes) -> None:
        """Know replies of this form from now on. This one was exact, and is relayed as it came."""
        if self._credit > _LEARNING and len(raw) <= _LONGEST:
            self._credit -= _LEARNING
            if (template := _proven(reply, raw)) is not None:
                self._templates = [template, *self._templates][:_MAX_TEMPLATES]


_forms: dict[tuple[str, str, type[BaseModel]], Forms[Any]] = {}


def forms_of[Rep: BaseModel](provider: str, model: str, kind: type[Rep]) -> Forms[Rep] | None:
    """The forms that are known of this model's replies; None for a kind of reply that differs in more."""
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
    """What stands in a gap. A count of tokens has its place in the template's own usage."""

    is_text: bool
    counts: dict[str, Any] | None = None
    name: str = ""


class _Template:
    """Constant bytes around gaps. `usage` is what replies of this form count, with the numbers of the last of them."""

    def __init__(self, constants: Sequence[bytes], gaps: Sequence[_Gap], reply: BaseModel) -> None:
        first, *others = map(re.escape, constants)
        pieces = [
            first,
            *((_TEXT if gap.is_text else _NUMBER) + other for gap, other in zip(gaps, others, strict=True)),
        ]
        self._pattern = re.compile(b"".join(pieces))
        self._texts = [at for at, gap in enumerate(gaps) if gap.is_text]
        self._counts = [(at, gap.counts, gap.name) for at, gap in enumerate(gaps) if gap.counts is not None]
        said = vars(reply)
        usage, tier = said.get("usage"), said.get("service_tier")
        self._usage = usage if isinstance(usage, models.CompletionUsage) else None
        self._tier = tier if type(tier) is str else None
        self._parts = _parts_of(self._usage)

    def matched(self, raw: bytes) -> tuple[bytes, ...] | None:
        """What is in the gaps of a reply that has this form."""
        found = self._pattern.fullmatch(raw)
        if found is None:
            return None
        values = found.groups()
        return values if _are_texts([values[at] for at in self._texts]) else None

    def note(self, values: Sequence[bytes], notes: Notes) -> None:
        """What a reply with these values took, and which tier served it, where it says so."""
        if self._usage is None:
            return
        for at, counts, name in self._counts:
            counts[name] = int(values[at])
        if self._parts is None:
            notes.tokens = tokens_of(self._usage)
        else:
            whole, read, made = self._parts
            prompt, completion, total = whole["prompt_tokens"], whole["completion_tokens"], whole["total_tokens"]
            notes.tokens = divided((prompt, completion, total), read, made)
        if self._tier is not None:
            notes.service_tier = self._tier


def _parts_of(usage: models.CompletionUsage | None) -> tuple[dict[str, int], dict[str, int], dict[str, int]] | None:
    """The counts of a usage and of its details; None for one with more in it."""
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


def _are_texts(texts: list[bytes]) -> bool:
    """Whether each is the inside of a JSON string.

    A space can continue neither an escape, nor a surrogate pair, nor a character: each is sound if all together are.
    """
    try:
        from_json(b'"%b"' % b" ".join(texts))
    except ValueError:
        return False
    return True


def _proven(reply: BaseModel, raw: bytes) -> _Template | None:
    """The template of a reply; None if it is not certain that its gaps hold what they are taken for."""
    spots = [match.span(match.lastindex or 0) for match in _VALUE.finditer(raw)]
    are_texts = [raw[start - 1 : start] == b'"' for start, _ in spots]
    marks: list[object] = [_TEXT_MARK % at if is_text else _FIRST_NUMBER + at for at, is_text in enumerate(are_texts)]
    if not 0 < len(spots) <= _MAX_GAPS or any(str(mark).encode() in raw for mark in marks):
        return None
    constants = _constants(raw, spots)
    copy = exact_json(type(reply), _filled(constants, marks))
    if copy is None:
        return None
    gaps = [_Gap(is_text) for is_text in are_texts]
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
    """Where values of the names above stand in a reply: each in the fields of an object, under its name."""
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
