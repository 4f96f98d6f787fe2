"""Chunks of a known form, read by their bytes at a third of the cost of validation.

The chunks around a stream's continuations, the first one with the role and the last one with the finish reason, are the
same in all streams of a model but for the id and the time. Once one has been validated, its bytes without these two are
known: that is proved by validating a copy with others in their places, which has to be the same chunk but for them. A
chunk of that form is then a copy of the proved one with its own id and time. All others are validated.
"""

import re
from typing import Any

from pydantic import MISSING, BaseModel

from ai_gateway.conform.chunks import AnyChunk, ChatChunk, CompletionChunk, text_size
from ai_gateway.conform.reply import exact_json
from ai_gateway.conform.usage import GROQ

_ID = re.compile(rb'"id": ?"([A-Za-z0-9_.:-]+)"')
_CREATED = re.compile(rb'"created": ?(0|[1-9][0-9]{0,14})(?=[,}])')  # JSON parsers may round longer numbers
_ID_MARK, _CREATED_MARK = "gateway-mark-5b2e", 1_234_567_892
_MAX_LENGTH = 1024
_MAX_FORMS = 16
# A chunk whose form is not known costs a little more, and learning one as much as some validations. A model whose
# chunks keep changing form is given up.
_CREDIT, _LEARNING = 128, 8
_MAX_MODELS = 128  # callers choose models; all forms of all of them take some 10 MB at most

type _Around = tuple[bytes, bytes, bytes, bool]
_new = object.__new__
_set_given, _set_more, _set_private = (
    BaseModel.__dict__[f"__pydantic_{name}__"].__set__ for name in ("fields_set", "extra", "private")
)


class Facts:
    """What the state machine has to know of a chunk with one choice, without a usage (or Groq's) and tool calls.

    `content_fields` are the fields of its delta with content, `size` is that of its texts, `reason` its finish reason,
    and `is_null` says that it has a usage of null.
    """

    __slots__ = ("content_fields", "index", "is_null", "opens", "reason", "size")

    def __init__(self, chunk: ChatChunk) -> None:
        (choice,) = chunk.choices
        delta = choice.delta
        self.index, self.reason = choice.index, choice.finish_reason
        self.opens = delta.role is not MISSING
        self.content_fields = {name for name in delta.model_fields_set if getattr(delta, name)}
        self.is_null = "usage" in chunk.model_fields_set
        self.size = text_size(chunk)


class KnownChunks[Chunk: (ChatChunk, CompletionChunk)]:
    """The known forms of the chunks of one model at one provider."""

    def __init__(self, kind: type[Chunk]) -> None:
        self._kind: type[Chunk] = kind
        self._known: dict[_Around, tuple[Chunk, Facts | None]] = {}
        self._credit = _CREDIT

    def exact(self, raw: bytes) -> tuple[Chunk | None, Facts | None]:
        """What `exact_json` gives for the chunk, and facts about it if its form is known."""
        form = _form(raw) if self._credit > 0 and len(raw) <= _MAX_LENGTH else None
        if form is None:
            return exact_json(self._kind, raw), None
        ident, created, around = form
        known = self._known.get(around)
        if known is not None:
            if self._credit < _CREDIT:
                self._credit += 1
            return _with_head(known[0], ident.decode(), int(created)), known[1]
        chunk = exact_json(self._kind, raw)
        self._credit -= 1
        if chunk is not None and self._credit > _LEARNING:
            self._credit -= _LEARNING
            self._learn(around, chunk)
        return chunk, None

    def _learn(self, around: _Around, chunk: Chunk) -> None:
        start, between, end, is_id_first = around
        marks = (_ID_MARK.encode(), b"%d" % _CREATED_MARK)
        one, other = marks if is_id_first else marks[::-1]
        if exact_json(self._kind, b"".join((start, one, between, other, end))) != _with_head(
            chunk, _ID_MARK, _CREATED_MARK
        ):
            return
        if len(self._known) >= _MAX_FORMS:
            del self._known[next(iter(self._known))]
        self._known[around] = chunk, _facts_of(chunk)


def _form(raw: bytes) -> tuple[bytes, bytes, _Around] | None:
    """The id and time of a chunk, and the bytes around them; None if they are not found."""
    ident, created = _ID.search(raw), _CREATED.search(raw)
    if ident is None or created is None:
        return None
    (id_start, id_end), (start, end) = ident.span(1), created.span(1)
    if id_end <= start:
        return ident[1], created[1], (raw[:id_start], raw[id_end:start], raw[end:], True)
    return ident[1], created[1], (raw[:start], raw[end:id_start], raw[id_end:], False)


def _facts_of(chunk: AnyChunk) -> Facts | None:
    if not isinstance(chunk, ChatChunk) or len(chunk.choices) != 1 or chunk.usage or GROQ in (chunk.model_extra or ()):
        return None
    return Facts(chunk) if chunk.choices[0].delta.tool_calls is MISSING else None


def _with_head[Chunk: (ChatChunk, CompletionChunk)](chunk: Chunk, ident: str, created: int) -> Chunk:
    """The chunk with another id and time. Nothing changes a chunk, so the two share their parts."""
    # As `model_copy` does, at a quarter of what that costs.
    made = _new(type(chunk))
    fields = made.__dict__
    fields.update(chunk.__dict__)
    fields["id"], fields["created"] = ident, created
    _set_given(made, chunk.__pydantic_fields_set__)
    _set_more(made, chunk.__pydantic_extra__)
    _set_private(made, None)
    return made


_known: dict[tuple[str, str, object], KnownChunks[Any]] = {}


def known_chunks_of[Chunk: (ChatChunk, CompletionChunk)](
    provider: str, model: str, kind: type[Chunk]
) -> KnownChunks[Chunk]:
    """The known forms of this model's chunks."""
    key = (provider, model, kind)
    known = _known.get(key)
    if known is None:
        while len(_known) >= _MAX_MODELS:
            del _known[next(iter(_known))]
        known = _known[key] = KnownChunks(kind)
    return known
