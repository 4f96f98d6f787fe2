"""Continuations: events that only continue a text, recognised by their bytes at a tenth of what validation costs.

Nearly every event of a stream adds a few characters to a text and changes nothing else. Once the state machine has
passed such a chunk unchanged, its bytes become a template: constant bytes around gaps for the insides of JSON strings.
The template is proved by validating a copy with other texts in its gaps, which has to be the same chunk but for these.
JSON is read from left to right, so whatever has the same constant bytes, with any JSON strings in the gaps, is that
chunk with other texts, and neither the contract nor the state machine treats it differently. All other events are
validated as before. Nor do the streams of one model differ but for their ids and times: once those are proved to be
gaps as well, the next stream's continuations are known as soon as it has begun.

One thing the state machine has to learn of what it has not seen: the arguments of tool calls, see `drain`.
"""

import re
from collections.abc import Callable, Hashable, Sequence

from pydantic import MISSING
from pydantic_core import from_json

from ai_gateway.conform.chunk_templates import Chunk, Template, calls_of, known_templates, proven_template
from ai_gateway.conform.reply import exact_json
from ai_gateway.contract.call import Bridge, Notes
from ai_gateway.contract.stream import Continued
from gateway_contract.openai import models

# Upstreams that were asked for usage say null until it comes. No JSON string contains this: its quotes are escaped.
_NULL_USAGE = re.compile(rb',[ \t]*"usage"[ \t]*:[ \t]*null')
_MAX_TEMPLATES = 8
# What deltas have beside the contract's fields that is a text.
_BARE = {"reasoning_content", "reasoning"}
# A longer chunk is none of many that are alike.
_MAX_SIZE = 16 * 1024
# A template costs as much to make as a few events do to validate: an upstream whose chunks keep changing is left alone
# after some attempts, until continuations have earned another one.
_ATTEMPT = 8
_MAX_CREDIT = 8 * _ATTEMPT


class Continuations:
    """The continuations of one stream. `match` and `match_packet` have no effect of their own.

    After each chunk that the state machine has taken, `update`; after each match that was sent on, `relayed`; before
    the state machine takes another chunk, hand it what `drain` returns. `said` is kept up to date with the fields that
    each choice has given texts for, as the state machine's is; `notes` count what was relayed. Streams of one `origin`,
    where it is told, are written alike and asked for alike. With `only_texts`, a continuation says nothing beside its
    texts: they go on in the form of another wire.
    """

    cut: bytes
    """What stands in each event that was matched last and is not to go out with it."""

    def __init__(
        self,
        said: dict[int, set[str]] | None = None,
        notes: Notes | None = None,
        origin: Hashable = None,
        *,
        only_texts: bool = False,
    ) -> None:
        self.cut = b""
        self.only_texts = only_texts
        self._origin = origin
        self._notes = notes or Notes()
        self._said = {} if said is None else said
        self._templates: list[Template] = []
        self._credit = _MAX_CREDIT
        self._begun: set[int] = set()
        self._matched: list[tuple[Template, list[bytes]]] = []
        self._arguments: dict[tuple[int, int], list[bytes]] = {}

    def match(self, events: Sequence[bytes], at: int = 0) -> int:
        """The end of the run of continuations that begins at `at` of the events, of each its data."""
        self._matched = []
        while at < len(events):
            for template in self._templates:
                if self._matched and template.cut != self.cut:
                    continue
                texts = template.texts(events, at)
                if texts:
                    self.cut = template.cut
                    self._matched.append((template, texts))
                    at += len(texts) // template.gaps
                    break
            else:
                break
        return at

    def match_packet(self, packet: bytes) -> bool:
        """Whether all of a packet of server-sent events, which begins where an event begins, is a run.

        A run is framed as our own events are: it may go out as it came.
        """
        for template in self._templates:
            texts = template.texts_of_packet(packet)
            if texts:
                self.cut = template.cut
                self._matched = [(template, texts)]
                return True
        self._matched = []
        return False

    def diverting_to(self, sink: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """What sends a packet to the sink if all of it is a run, and says whether it did."""

        def divert(packet: bytes) -> bool:
            if not self.match_packet(packet) or not sink(packet.replace(self.cut, b"") if self.cut else packet):
                return False
            self.relayed()
            return True

        return divert

    def translating_to(self, bridge: Bridge, sink: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
        """The same in the form of another wire."""
        preview, commit = bridge.preview, bridge.commit

        def divert(packet: bytes) -> bool:
            if not self.match_packet(packet):
                return False
            (run,) = self.matched()
            written = preview(run)
            if written is None or (written and not sink(written)):
                return False
            commit()
            self.relayed()
            return True

        return divert

    def matched(self) -> list[Continued]:
        """The texts of what was matched last."""
        return [Continued(each.choice, each.call, each.fields, texts) for each, texts in self._matched]

    def relayed(self) -> None:
        """What was matched last has been sent on."""
        notes = self._notes
        for template, texts in self._matched:
            if not template.is_noted and any(texts):
                template.is_noted = True
                self._said.setdefault(template.choice, set()).update(template.names)
            chunks = len(texts) // template.gaps
            if self._credit < _MAX_CREDIT:
                self._credit += chunks
            notes.chunks += chunks
            notes.text_bytes += sum(map(len, texts))
            if template.call is not None:
                arguments = b"".join(texts[template.arguments_at :: template.gaps])
                self._arguments.setdefault((template.choice, template.call), []).append(arguments)
        self._matched = []

    def drain(self) -> list[tuple[int, int, str]]:
        """Arguments of tool calls that were relayed since: the index of the choice, that of the call, and the text."""
        if not self._arguments:
            return []
        drained = [
            (choice, call, str(from_json(b'"%b"' % b"".join(parts))))
            for (choice, call), parts in self._arguments.items()
        ]
        self._arguments.clear()
        return drained

    def update(self, chunk: Chunk, sent: Chunk | None, raw: bytes | None, cut: bytes = b"") -> None:
        """Learn from a chunk, what the state machine made of it, and the bytes it came in if they are the chunk's.

        `cut` is what the bytes hold once, outside of any text, and what goes out does not: see `hidden_usage`.

        One that goes out as it came may be like those that follow. Any other can change what becomes of its choices'
        chunks: a choice ends, an index leads to another tool call.
        """
        if sent is None:
            return
        indices = {choice.index for choice in sent.choices}
        begun = indices <= self._begun  # the first chunk, which brings the role, is mostly the only one of its kind
        self._begun |= indices
        if sent is chunk and raw is not None and _is_continuation(chunk) and (not self.only_texts or _is_bare(chunk)):
            if not begun:
                self._templates += known_templates(self._origin, chunk)
            elif self._credit >= _ATTEMPT and len(raw) <= _MAX_SIZE:
                self._credit -= _ATTEMPT
                template = proven_template(chunk, raw, cut, self._origin)
                self._templates = [*([template] if template else []), *self._templates][:_MAX_TEMPLATES]
        elif self._templates:
            self._templates = [template for template in self._templates if template.choice not in indices]


def hidden_usage(chunk: Chunk, sent: Chunk, raw: bytes) -> bytes:
    """The bytes of a null usage, if without them `raw` is what is sent for the chunk; else none."""
    found = _NULL_USAGE.findall(raw) if chunk.usage is None else []
    if len(found) != 1 or exact_json(type(chunk), raw.replace(found[0], b"")) != sent:
        return b""
    cut: bytes = found[0]
    return cut


def _is_continuation(chunk: Chunk) -> bool:
    """Whether the chunk, which the state machine passed unchanged, leaves it as it was but for a call's arguments."""
    if len(chunk.choices) != 1 or isinstance(chunk.usage, models.CompletionUsage):
        return False
    choice = chunk.choices[0]
    if choice.finish_reason is not None:
        return False
    calls = calls_of(choice)
    if len(calls) != 1:
        return not calls
    (call,) = calls
    named = call.function is not MISSING and call.function.name is not MISSING
    return not named and call.id is call.type is MISSING and "custom" not in (call.model_extra or {})


def _is_bare(chunk: Chunk) -> bool:
    """Whether a continuation of a chat says nothing that only its bytes would keep."""
    (choice,) = chunk.choices
    if not isinstance(choice, models.CreateChatCompletionStreamResponseChoice) or choice.logprobs is not None:
        return False
    more = {name for name, value in (choice.delta.model_extra or {}).items() if value}
    return more <= _BARE and not any((choice.model_extra or {}).values())
