"""Continuations: events that only continue a text, recognised by their bytes at a tenth of the cost of validation.

Nearly every event of a stream adds a few characters to a text and changes nothing else. Once the state machine has
passed such a chunk unchanged, its bytes become a template: constant bytes around gaps for the contents of JSON strings.
The template is proved by validating a copy with other texts in its gaps, which has to be the same chunk but for these.
JSON is parsed from left to right, so an event with the same constant bytes, and any JSON strings in the gaps, is that
chunk with other texts, and both contract and state machine treat it alike. All other events are validated as usual.
Streams of one model only differ in ids and times: once those are proved to be gaps as well, the next stream's
continuations are recognised from its start.

The state machine needs the arguments of tool calls in events that bypass it: see `drain`.
"""

import re
from collections.abc import Callable, Hashable, Sequence

from pydantic import MISSING
from pydantic_core import from_json

from ai_gateway.conform.chunk_templates import Chunk, Edit, Template, calls_of, known_templates, proven_template
from ai_gateway.conform.reply import exact_json
from ai_gateway.contract.call import Bridge, Notes
from ai_gateway.contract.stream import Continued, Pieces, Sink
from gateway_contract.openai import models

# With include_usage, chunks have a null usage until the last. JSON strings cannot contain these bytes: their quotes
# would be escaped, and no colon follows a text.
_NULL_USAGE = re.compile(rb',[ \t]*"usage"[ \t]*:[ \t]*null')
_CHOICES = re.compile(rb'"choices"[ \t]*:')
_MAX_TEMPLATES = 8
# Texts of deltas that the contract does not have.
_BARE = {"reasoning_content", "reasoning"}
# Longer chunks are not templates: they do not recur.
_MAX_SIZE = 16 * 1024
# Making a template costs as much as validating a few events: for streams whose chunks keep changing, it is given up
# after some attempts, until matched continuations have made up for another one.
_ATTEMPT = 8
_MAX_CREDIT = 8 * _ATTEMPT


class Continuations:
    """The continuations of one stream. `match` and `match_packet` have no effect of their own.

    Call `update` after each chunk that the state machine has taken, and `relayed` after each match that was sent; pass
    the result of `drain` to the state machine before its next chunk. `content_fields` has the fields with content of
    each choice, as in the state machine; `notes` count the relayed chunks. Streams of one `origin`, if given, have the
    same form. With `only_texts`, a continuation must have nothing but its texts, since only they are sent on another
    wire.
    """

    def __init__(
        self,
        content_fields: dict[int, set[str]] | None = None,
        notes: Notes | None = None,
        origin: Hashable = None,
        *,
        only_texts: bool = False,
    ) -> None:
        self.edit: Edit | None = None
        """The edit in each of the events matched last."""
        self.only_texts = only_texts
        self._origin = origin
        self._notes = notes or Notes()
        self._content_fields = {} if content_fields is None else content_fields
        self._templates: list[Template] = []
        self._credit = _MAX_CREDIT
        self._begun: set[int] = set()
        self._matched: list[tuple[Template, list[bytes]]] = []
        self._arguments: dict[tuple[int, int], list[bytes]] = {}

    def match(self, events: Sequence[bytes], at: int = 0) -> int:
        """The end of the run of continuations from `at` on; events are given by their data, or as Pieces."""
        self._matched = []
        are_framed = isinstance(events, Pieces)
        while at < len(events):
            for template in self._templates:
                if self._matched and template.edit != self.edit:
                    continue
                texts = template.texts(events, at, are_framed)
                if texts:
                    self.edit = template.edit
                    self._matched.append((template, texts))
                    at += len(texts) // template.gaps
                    break
            else:
                break
        return at

    def match_packet(self, packet: bytes) -> tuple[Template, list[bytes]] | None:
        """The template and texts of a packet of server-sent events, which starts at an event's start, if it is one run.

        A run has the framing of our own events, so that it can be relayed.
        """
        for template in self._templates:
            if texts := template.texts_of_packet(packet):
                return template, texts
        return None

    def diverting_to(self, sink: Sink) -> Sink:
        """A function that sends a packet to the sink if it is one run, and returns whether it did."""
        notes = self._notes

        def divert(packet: bytes, chunk: bytes | None = None, /) -> bool:
            for template in self._templates:
                texts = template.texts_of_packet(packet)
                if texts:
                    break
            else:
                return False
            if not (sink(template.edit.all_in(packet)) if template.edit is not None else sink(packet, chunk)):
                return False
            if template.is_noted and template.call is None and len(texts) == 1 and self._credit >= _MAX_CREDIT:
                notes.chunks += 1
                notes.text_bytes += len(texts[0])
            else:
                self._note(template, texts)
            return True

        return divert

    def translating_to(self, bridge: Bridge, sink: Sink) -> Sink:
        """The same for callers of another wire."""
        preview, commit = bridge.preview, bridge.commit

        def divert(packet: bytes, _chunk: bytes | None = None, /) -> bool:
            matched = self.match_packet(packet)
            if matched is None:
                return False
            template, texts = matched
            written = preview(Continued(template.choice, template.call, template.fields, texts))
            if written is None or (written and not sink(written)):
                return False
            commit()
            self._note(template, texts)
            return True

        return divert

    def edited(self, events: Sequence[bytes]) -> Sequence[bytes]:
        """The events of the last match as they are sent."""
        return events if self.edit is None else [*map(self.edit.all_in, events)]

    def matched(self) -> list[Continued]:
        """The texts of the last match."""
        return [Continued(each.choice, each.call, each.fields, texts) for each, texts in self._matched]

    def relayed(self) -> None:
        """Note that the last match has been sent."""
        for template, texts in self._matched:
            self._note(template, texts)
        self._matched = []

    def _note(self, template: Template, texts: list[bytes]) -> None:
        """Note that these texts of events with this template have been sent."""
        notes = self._notes
        if not template.is_noted:
            sent = self._content_fields.setdefault(template.choice, set())
            if template.gaps == 1:
                template.is_noted = any(texts)
                if template.is_noted:
                    sent |= template.names
            else:
                sent.update(name for at, name in enumerate(template.fields) if any(texts[at :: template.gaps]))
                template.is_noted = sent >= template.names
        chunks = len(texts) // template.gaps
        if self._credit < _MAX_CREDIT:
            self._credit += chunks
        notes.chunks += chunks
        notes.text_bytes += len(b"".join(texts))
        if template.call is not None:
            arguments = b"".join(texts[template.arguments_at :: template.gaps])
            self._arguments.setdefault((template.choice, template.call), []).append(arguments)

    def drain(self) -> list[tuple[int, int, str]]:
        """Arguments of tool calls relayed since the last `drain`: index of the choice, index of the call, text."""
        if not self._arguments:
            return []
        drained = [
            (choice, call, str(from_json(b'"%b"' % b"".join(parts))))
            for (choice, call), parts in self._arguments.items()
        ]
        self._arguments.clear()
        return drained

    def update(self, chunk: Chunk, sent: Chunk | None, raw: bytes | None, edit: Edit | None = None) -> None:
        """Learn from a chunk, the state machine's result for it, and its original bytes if unchanged.

        `edit` is made in what is sent: see `null_usage`.

        A chunk that is sent unchanged may be the template of the next ones. Any other invalidates the templates of its
        choices: a choice may have ended, or an index may mean another tool call.
        """
        if sent is None:
            return
        indices = {choice.index for choice in sent.choices}
        begun = indices <= self._begun  # the first chunk, with the role, rarely recurs
        self._begun |= indices
        if sent is chunk and raw is not None and _is_continuation(chunk) and (not self.only_texts or _is_bare(chunk)):
            if not begun:
                self._templates += known_templates(self._origin, chunk)
            elif self._credit >= _ATTEMPT and len(raw) <= _MAX_SIZE:
                self._credit -= _ATTEMPT
                template = proven_template(chunk, raw, edit, self._origin)
                self._templates = [*([template] if template else []), *self._templates][:_MAX_TEMPLATES]
        elif self._templates:
            self._templates = [template for template in self._templates if template.choice not in indices]


def null_usage(
    chunk: Chunk, sent: Chunk, raw: bytes, exact: Callable[[type[Chunk], bytes], object] = exact_json
) -> Edit | None:
    """The edit that removes or adds a null usage, if with it `raw` is what is sent for the chunk."""
    if isinstance(chunk.usage, models.CompletionUsage) or sent.choices is not chunk.choices:
        return None
    hides = "usage" in chunk.model_fields_set
    found = (_NULL_USAGE if hides else _CHOICES).findall(raw)
    if len(found) != 1:
        return None
    edit = Edit(found[0], b"" if hides else b'"usage":null,' + found[0])
    return edit if exact(type(chunk), edit.all_in(raw)) == sent else None


def _is_continuation(chunk: Chunk) -> bool:
    """Whether the chunk, passed unchanged, changed no state of the state machine except a call's arguments."""
    if len(chunk.choices) != 1 or isinstance(chunk.usage, models.CompletionUsage):
        return False
    choice = chunk.choices[0]
    if choice.finish_reason is not None:
        return False
    if isinstance(choice, models.CreateChatCompletionStreamResponseChoice) and (
        choice.delta.function_call is not MISSING
    ):  # rare today; its name is watched
        return False
    calls = calls_of(choice)
    if len(calls) != 1:
        return not calls
    (call,) = calls
    named = call.function is not MISSING and call.function.name is not MISSING
    return not named and call.id is call.type is MISSING and "custom" not in (call.model_extra or {})


def _is_bare(chunk: Chunk) -> bool:
    """Whether a chat continuation has nothing but its texts."""
    (choice,) = chunk.choices
    if not isinstance(choice, models.CreateChatCompletionStreamResponseChoice) or choice.logprobs is not None:
        return False
    more = {name for name, value in (choice.delta.model_extra or {}).items() if value}
    return more <= _BARE and not any((choice.model_extra or {}).values())
