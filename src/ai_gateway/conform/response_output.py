"""The output items of one response: numbers of events, indexes of items, and items of gateway-run calls.

Items of gateway-run calls may be open concurrently, each at its index, while no other item is.
"""

from collections.abc import Sequence
from typing import Final

from pydantic_core import to_json

from ai_gateway.conform.response_fields import Fields, RanHere, event_end
from ai_gateway.contract.item_ids import item_id
from ai_gateway.contract.wire_form import to_wire

ADDED: Final = b"response.output_item.added"
DONE: Final = b"response.output_item.done"


def _head(name: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b",' % (name, name)


# Of the events that nearly every response has.
_HEADS: Final = {
    name: _head(name)
    for name in (
        *(b"response." + state for state in (b"created", b"in_progress", b"completed", b"incomplete", b"failed")),
        *(ADDED, DONE, b"response.content_part.added", b"response.content_part.done", b"response.output_text.done"),
    )
}


class Output:
    """`ran` maps gateway-run calls to items."""

    def __init__(self, response_id: str, ran: RanHere) -> None:
        self._number = 0
        self._output: list[bytes] = []  # empty at the index of a running item
        self._has_run = False
        self._response_id = response_id
        self._here = ran
        self._running: dict[str, tuple[Fields, str, int]] = {}  # by call index: item, id, place
        self._waiting: list[int] = []  # indexes of items that wait for earlier ones

    def _event(self, name: bytes, fields: bytes) -> bytes:
        number, self._number = self._number, self._number + 1
        return (_HEADS.get(name) or _head(name)) + fields + event_end(number)

    def _id(self, kind: str) -> str:
        """The id of the next item, unique over all responses."""
        return item_id(kind, self._response_id, len(self._output))

    def _added(self, item: Fields) -> bytes:
        index = len(self._output)
        return self._event(ADDED, b'"output_index":%d,"item":%b' % (index, to_wire(item)))

    def _with_place(self, item_id: str, place: int, events: Sequence[tuple[str, Fields]]) -> bytes:
        at = b'"item_id":%b,"output_index":%d' % (to_json(item_id), place)
        return b"".join(
            [
                self._event(f"response.{name}".encode(), b"%b,%b" % (at, to_json(fields)[1:-1]) if fields else at)
                for name, fields in events
            ]
        )

    def _ran(self, call: Fields) -> bytes:
        """Report a gateway-run call: its item is open while the tool runs."""
        self._has_run = True
        index, written = str(call.get("index")), b""
        if index not in self._running:
            item_id = self._id(self._here.kind(call))
            self._running[index] = call, item_id, len(self._output)
            item, events = self._here.begun(call, item_id)
            written = self._added(item) + self._with_place(item_id, len(self._output), events)
            self._output.append(b"")
        known, item_id, place = self._running[index]
        if "status" not in call:
            return written
        del self._running[index]
        return written + self._over({**known, **call}, item_id, place)

    def _break_off(self) -> bytes:
        """End the items that still run."""
        written = b""
        while self._running:
            written += self._over(*self._running.pop(next(iter(self._running))))
        return written

    def _over(self, call: Fields, item_id: str, place: int) -> bytes:
        """End one item. Items are done in the order of the list, as clients expect."""
        item, events = self._here.ended(call, item_id)
        self._output[place] = to_json(item)
        self._waiting.append(place)
        written = self._with_place(item_id, place, events)
        first = min((place for _, _, place in self._running.values()), default=len(self._output))
        while self._waiting and (done := min(self._waiting)) < first:
            self._waiting.remove(done)
            written += self._event(DONE, b'"output_index":%d,"item":%b' % (done, self._output[done]))
        return written
