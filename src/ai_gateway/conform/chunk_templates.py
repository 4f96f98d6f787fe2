"""Templates of chunks: constant bytes around gaps for texts, proved by validating a copy with other texts.

A proof for one stream holds for later ones of the same upstream and model: see `_shape` and `Form`.
"""

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic import MISSING, BaseModel
from pydantic_core import from_json

from ai_gateway.conform.reply import exact_json
from ai_gateway.contract.framing import SSE
from gateway_contract.openai import models

type Chunk = models.CreateChatCompletionStreamResponse | models.CreateCompletionStreamResponse
type Choice = models.CreateChatCompletionStreamResponseChoice | models.CreateCompletionStreamResponseChoice

# Unbounded texts; `reasoning` and `reasoning_content` are upstreams' names of reasoning.
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal", "text")
# Random padding against length side channels: OpenAI's, and Mistral's (https://docs.mistral.ai/resources/changelogs).
_PADDING = ("obfuscation", "p")
# Reasoning again, in parts that the contract does not have: OpenRouter's `reasoning_details`
# (https://openrouter.ai/docs/agent-sdk/typescript/api-reference/models/chatstreamdelta).
_PART_TEXTS = ("text", "summary")
_ARGUMENTS = "arguments"
_STRING = re.compile(
    rb'"(?:%s)"[ \t]*:[ \t]*"((?:[^"\\]++|\\.)*+)"' % "|".join((*_TEXTS, *_PADDING, *_PART_TEXTS, _ARGUMENTS)).encode()
)
_MARK = "gateway-mark-7c1f-%d"
_MAX_GAPS = 8
# Events that are matched together; bounds the work that a mismatch wastes.
_MAX_RUN = 64
_LARGE = 16 * 1024  # bytes of events that are compared in one piece, since that takes copies of them
_BETWEEN = SSE.after + SSE.before
_QUOTE, _LINE_FEED = b'"\n'  # as numbers: CPython looks for these at once, and for bytes after an exception
_MAX_PROOFS = 1_000
_MAX_PROVEN_SIZE = 1024
_MAX_ORIGINS, _MAX_FORMS = 256, 4  # callers choose models
_ID_MARK, _TIME_MARK = _MARK % 0, 1_234_567_891
_PLAIN = re.compile(r"[\w.:-]+", re.ASCII)
_DISTINCT = 8  # characters of an id, or digits of a time: shorter ones could be ambiguous
_proofs: dict[bytes, list[tuple[int, str]]] = {}
_forms: dict[Hashable, dict[bytes, "Form"]] = {}


class Edit(NamedTuple):
    """Bytes that occur once in each event of a template, outside of any text, and what is sent in their place."""

    old: bytes
    new: bytes

    def all_in(self, packet: bytes) -> bytes:
        """A packet of such events with the edit in each of them."""
        return packet.replace(self.old, self.new)


class Template:
    """Constant bytes around gaps for texts. `call` is the index of the tool call whose arguments one of them holds.

    `edit`, if there is one, is made in each event before it is sent. `fields` has the name of each gap. `is_noted` says
    that its fields are in the choice's `content_fields` already.
    """

    __slots__ = (
        "_after", "_before", "_between", "_closing", "_framing", "_head", "_opening", "_tail",
        "arguments_at", "call", "choice", "edit", "fields", "gaps", "is_noted", "names",
    )  # fmt: skip

    def __init__(
        self, constants: Sequence[bytes], choice: int, call: int | None, names: Sequence[str], edit: Edit | None
    ) -> None:
        self.choice, self.call, self.edit = choice, call, edit
        self.fields, self.names = tuple(names), frozenset(names)
        self.arguments_at = names.index(_ARGUMENTS) if call is not None else 0
        self.gaps = len(constants) - 1
        self.is_noted = False
        self._before, *self._between, self._after = constants
        self._head, self._tail = SSE.before + self._before, self._after + SSE.after
        self._opening, self._closing = self._head[:-1], self._tail[1:]  # without the quotes
        self._framing = len(self._opening) + len(self._closing)

    def texts(self, events: Sequence[bytes], at: int, are_framed: bool = False) -> list[bytes]:
        """The texts in the gaps of consecutive matching events, from `at` on; these may have the framing of our own."""
        before, after = (self._head, self._tail) if are_framed else (self._before, self._after)
        if not events[at].startswith(before):
            return []
        run = events[at : at + min(_MAX_RUN, _LARGE // len(events[at]) + 1)]
        if not run[-1].endswith(after):  # the last event of a stream, mostly
            run = run[:-1]
        texts = self._texts_of(run, before, after)
        while not texts and len(run) > 1:
            run = run[: len(run) // 2]
            texts = self._texts_of(run, before, after)
        return texts

    def texts_of_packet(self, packet: bytes) -> list[bytes]:
        """The same for all events of a packet with their framing; empty unless all match."""
        # To look at an end and to cut it off in one step takes half of what two steps do.
        quoted = packet.removeprefix(self._opening).removesuffix(self._closing)
        if not 2 <= len(quoted) == len(packet) - self._framing or not quoted[0] == quoted[-1] == _QUOTE:
            return []
        if _LINE_FEED not in quoted:  # a single event, as in nearly every packet of a slow stream
            if self.gaps > 1:
                return self._texts_in([quoted[1:-1]])
            try:
                from_json(quoted)
            except ValueError:
                return []
            return [quoted[1:-1]]
        if len(packet) > _LARGE:
            # An event with other constants is not split off, so that its quotes make the text invalid.
            return self._texts_in(quoted[1:-1].split(self._tail + self._head))
        # Not split by the constants between two texts: for a separator that long, CPython prepares every search anew.
        events = packet[len(SSE.before) : -len(SSE.after)].split(_BETWEEN)
        return self._texts_of(events, self._before, self._after)

    def _texts_of(self, events: Sequence[bytes], before: bytes, after: bytes) -> list[bytes]:
        """The texts of these events; empty unless all match.

        All are compared at once, which is several times as fast as one by one: their inner parts, joined by the
        constants, have to give the same bytes. An event shorter than the constants makes the result longer.
        """
        inner = [*map(itemgetter(slice(len(before), -len(after))), events)]
        # The ends are exchanged, because a join of few large pieces would copy all of it once more.
        if b"".join([after, *events, before]) != (after + before).join([b"", *inner, b""]):
            return []
        return self._texts_in(inner)

    def _texts_in(self, inner: list[bytes]) -> list[bytes]:
        """The texts in the inner parts of matching events: what is between their first and last constant."""
        texts = self._apart(inner) if self.gaps > 1 else inner
        return texts if len(texts) == self.gaps * len(inner) and are_texts(texts) else []

    def _apart(self, inner: list[bytes]) -> list[bytes]:
        """The texts between the first and the last constant of events; fewer if some do not match."""
        texts = inner
        for at, between in enumerate(self._between):
            texts = [
                part
                for position, text in enumerate(texts)
                for part in (text.split(between, 1) if position % (at + 1) == at else (text,))
            ]
        return texts


def are_texts(texts: Iterable[bytes]) -> bool:
    """Whether each is the content of a JSON string, by the parser that validation uses.

    They are checked joined by spaces, which cannot continue an escape, a surrogate pair or a UTF-8 sequence.
    """
    return _is_json(b'"%b"' % b" ".join(texts))


def _is_json(value: bytes) -> bool:
    try:
        from_json(value)
    except ValueError:
        return False
    return True


def calls_of(choice: Choice) -> list[models.ChatCompletionMessageToolCallChunk]:
    """The tool call pieces of a choice."""
    if isinstance(choice, models.CreateCompletionStreamResponseChoice) or choice.delta.tool_calls is MISSING:
        return []
    return choice.delta.tool_calls


def _slots(chunk: Chunk) -> list[tuple[BaseModel | dict[str, Any], str, str]]:
    """The places of a continuation's texts: a model, or an object without one, and a field name."""
    choice = chunk.choices[0]
    delta = choice if isinstance(choice, models.CreateCompletionStreamResponseChoice) else choice.delta
    named: list[tuple[BaseModel | dict[str, Any], Sequence[str]]] = [(delta, _TEXTS), (chunk, _PADDING)]
    named += [(call.function, [_ARGUMENTS]) for call in calls_of(choice) if call.function is not MISSING]
    for unknown in (delta.model_extra or {}).values():
        named += [(part, _PART_TEXTS) for part in (unknown if isinstance(unknown, list) else ()) if type(part) is dict]
    slots = []
    for holder, names in named:
        # Reading an attribute that a model lacks is slow.
        values = holder if isinstance(holder, dict) else vars(holder) | (holder.model_extra or {})
        slots += [(holder, name, values[name]) for name in names if isinstance(values.get(name), str)]
    return slots


def proven_template(chunk: Chunk, raw: bytes, edit: Edit | None, origin: Hashable = None) -> Template | None:
    """The template of a continuation; None if its bytes have no text, or the proof fails."""
    spots = [match.span(1) for match in _STRING.finditer(raw)]
    if not 0 < len(spots) <= _MAX_GAPS or b"\n" in raw or b"\r" in raw or _MARK.encode()[:-2] in raw:
        return None
    constants = _constants(raw, spots)
    shape = _shape(chunk, constants)
    texts = _proofs.get(shape)
    is_known = texts is not None
    if texts is None:
        texts = _proven_texts(chunk, raw, spots)
        if texts is None:
            return None
        if len(raw) <= _MAX_PROVEN_SIZE:
            if len(_proofs) >= _MAX_PROOFS:
                _proofs.clear()
            _proofs[shape] = texts
    spots = [spots[at] for at, _ in texts]
    constants, names = _constants(raw, spots), [name for _, name in texts]
    index = chunk.choices[0].index
    call = next(iter(calls_of(chunk.choices[0])), None)
    if is_known and call is None and origin is not None and shape not in _forms.get(origin, {}):
        form = _proven_form(chunk, raw, spots)
        if form is not None:
            _keep_form(origin, shape, replace(form, names=names, edit=edit))
    return Template(constants, index, call.index if call is not None else None, names, edit)


@dataclass(frozen=True, slots=True)
class Form:
    """A template for all streams of one origin: with blanks for ids and times."""

    kind: type[Chunk]
    constants: Sequence[bytes]
    choice: int
    model: str
    names: Sequence[str] = ()
    edit: Edit | None = None

    def filled(self, ident: str, created: int) -> list[bytes]:
        """The constants of a stream with this id and time."""
        blanks = ident.encode(), b"%d" % created
        return [constant.replace(b"\1", blanks[0]).replace(b"\2", blanks[1]) for constant in self.constants]


def known_templates(origin: Hashable, chunk: Chunk) -> list[Template]:
    """The templates for a stream that begins with this chunk, which the state machine passed unchanged."""
    known = _forms.get(origin)
    if known is None or chunk.created < 0 or not _PLAIN.fullmatch(chunk.id):
        return []
    index = chunk.choices[0].index
    return [
        Template(form.filled(chunk.id, chunk.created), index, None, form.names, form.edit)
        for form in known.values()
        if form.kind is type(chunk) and form.choice == index and form.model == chunk.model
    ]


def _proven_form(chunk: Chunk, raw: bytes, spots: list[tuple[int, int]]) -> Form | None:
    """The form of a chunk with texts in these spots, if the blanks are proved to be its id and time only."""
    if not _PLAIN.fullmatch(chunk.id):
        return None
    constants = _constants(raw, spots)
    for value, blank in ((b'"%b"' % chunk.id.encode(), b'"\1"'), (b"%d" % chunk.created, b"\2")):
        stands = re.compile(rb"(: ?)%b(?=[,}\s])" % re.escape(value))
        constants = [stands.sub(rb"\g<1>" + blank, constant) for constant in constants]
    form = Form(type(chunk), constants, chunk.choices[0].index, chunk.model)
    texts = [raw[start:end].decode() for start, end in spots]
    copy = exact_json(type(chunk), _joined(form.filled(_ID_MARK, _TIME_MARK), texts))
    if copy is None or copy.id != _ID_MARK or copy.created != _TIME_MARK:
        return None
    copy.id, copy.created = chunk.id, chunk.created
    return form if copy == chunk else None


def _keep_form(origin: Hashable, shape: bytes, form: Form) -> None:
    if origin not in _forms and len(_forms) >= _MAX_ORIGINS:
        del _forms[next(iter(_forms))]
    _forms[origin] = dict([(shape, form), *_forms.get(origin, {}).items()][:_MAX_FORMS])


def _shape(chunk: Chunk, constants: list[bytes]) -> bytes:
    """The part that a stream's chunks share with other streams: the constants without id and time.

    Both are blanked wherever they are a value: a whole JSON string, or the digits behind a colon. Valid chunks that
    differ in such values only are treated alike by the contract, since none of its fields depends on another one's
    value; so a proof for one's gaps holds for the other's.
    """
    shape = b"\0".join([type(chunk).__name__.encode(), *constants])
    colon = b": " if b'": ' in shape else b":"
    if len(chunk.id) >= _DISTINCT and _PLAIN.fullmatch(chunk.id):
        shape = shape.replace(b'%b"%b"' % (colon, chunk.id.encode()), colon + b'"\1"')
    if chunk.created >= 10**_DISTINCT:
        shape = shape.replace(b"%b%d" % (colon, chunk.created), colon + b"\2")
    return shape


def _proven_texts(chunk: Chunk, raw: bytes, spots: list[tuple[int, int]]) -> list[tuple[int, str]] | None:
    """Which of the strings are the chunk's texts, each with its name; None unless this is proved."""
    marks = [_MARK % at for at in range(len(spots))]
    copy = exact_json(type(chunk), _filled(raw, spots, marks))
    names = {text: name for _, name, text in _slots(copy)} if copy is not None else {}
    texts = [(at, names[mark]) for at, mark in enumerate(marks) if mark in names]
    if len(spots) > 1 and len(texts) < len(spots):
        # The same names can occur elsewhere, or twice: the parsed model tells which strings are the chunk's texts.
        copy = exact_json(type(chunk), _filled(raw, [spots[at] for at, _ in texts], [marks[at] for at, _ in texts]))
    if copy is None or not texts or not _same_but_texts(copy, chunk):
        return None
    if calls_of(chunk.choices[0]) and _ARGUMENTS not in [name for _, name in texts]:
        return None  # constant arguments would be missed
    return texts


def _same_but_texts(copy: Chunk, chunk: Chunk) -> bool:
    """Whether the copy equals the chunk, except for the texts."""
    for (holder, name, _), (_, _, text) in zip(_slots(copy), _slots(chunk), strict=False):
        if isinstance(holder, dict):
            holder[name] = text
        else:
            setattr(holder, name, text)
    return copy == chunk


def _constants(raw: bytes, spots: list[tuple[int, int]]) -> list[bytes]:
    constants, at = [], 0
    for start, end in spots:
        constants.append(raw[at:start])
        at = end
    constants.append(raw[at:])
    return constants


def _filled(raw: bytes, spots: list[tuple[int, int]], texts: list[str]) -> bytes:
    return _joined(_constants(raw, spots), texts)


def _joined(constants: list[bytes], texts: list[str]) -> bytes:
    first, *others = constants
    return b"".join([first, *(text.encode() + other for text, other in zip(texts, others, strict=True))])
