"""Stored responses: their owners, data retention, and access."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, cast

import structlog
from pydantic_core import from_json, to_json

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import ORGANIZATION, DataRetention
from ai_gateway.accounts.responses import CANCELLING, EventPiece, RunState, StoredResponse, StoredResponses
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.api.responses import items
from ai_gateway.api.responses.background import STOPPED
from ai_gateway.api.responses.events import events_in
from ai_gateway.conform.response_so_far import SoFar
from ai_gateway.contract.budget import UNCHARGED
from ai_gateway.contract.call import Call, Caller
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.item_ids import response_of
from ai_gateway.errors import InvalidRequest, NotFound, Unavailable
from ai_gateway.translate.responses_chat.conversation import Item
from ai_gateway.translate.responses_chat.tools import Fields

_NOTHING_MAY_BE_KEPT = "zero_data_retention"
_CANCEL_S = 5.0  # its maker notices a cancellation within 2 s
_LOOK_S = 0.05
_MAX_REFERRED = 1_000  # responses whose items one request may refer to; clients may refer to every turn
_PER_BYTE = 4  # copies: stored, parsed, and as messages
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """`stored` is None without a store; `directory` has the data retention of projects.

    `makes` says whether this worker makes a response: its lease may have expired while the store was away.
    """

    stored: StoredResponses | None
    directory: Directory | None
    makes: Callable[[str], bool] = lambda _: False

    def may_keep(self, caller: Caller) -> bool:
        """Whether responses of this caller may be stored."""
        if self.stored is None or self.directory is None:
            return False
        kept = self.directory.get(DataRetention, caller.project_id)
        if kept is None or kept.type == "organization_default":
            kept = self.directory.get(DataRetention, ORGANIZATION)
        return kept is None or _NOTHING_MAY_BE_KEPT not in kept.type

    async def history(self, call: Call, response_id: str) -> list[Fields]:
        """The items of a conversation up to a response. Raises InvalidRequest if the caller has no such response.

        Their bytes are charged to the call.
        """
        chain = await self._chain(call, response_id)
        if not chain or chain[0].previous is not None:
            _unknown_previous(response_id)
        if chain[-1].runs:
            raise InvalidRequest(
                "The previous response is still being made: wait until it is completed.",
                param="previous_response_id",
                code="invalid_value",
            )
        call.recalled = sum(len(each.input.encode()) + len(each.body.encode()) for each in chain)
        return [item for each in chain for item in _items_of(each) if not _is_unfinished_call(item)]

    async def items(self, call: Call, ids: Iterable[str]) -> dict[str, Fields]:
        """The items with these ids, as far as they belong to stored responses of the caller.

        Their bytes are charged to the call. Raises Unavailable, PayloadTooLarge, and InvalidRequest for a repeated id
        or too many responses, since a short reference can stand for many bytes.
        """
        found: dict[str, Fields] = {}
        size = 0
        for response_id, own in _by_response(ids).items():
            try:
                response = await self._get(call.caller, response_id)
            except NotFound:
                continue
            items_by_id = {str(item.get("id")): item for item in _items_of(response)}
            here = {each: items_by_id[each] for each in own if each in items_by_id}
            size += len(to_json(here))
            call.allocation.check_possible(_PER_BYTE * size, "The items that 'input' refers to are too large together.")
            found |= here
        call.allocation.charge_at_most(_PER_BYTE * size)
        call.recalled += size
        return found

    async def get(self, caller: Caller, response_id: str) -> StoredResponse:
        """The caller's response; failed if its process is gone. Raises NotFound."""
        found = await self._get(caller, response_id)
        if found.runs and self._is_abandoned(response_id, found.lease):
            found = await self._cut(caller, found)
        if found.runs:
            shown = "in_progress" if found.status == CANCELLING else found.status
            found = replace(found, body=to_json({**from_json(found.body), "status": shown}).decode())
        return found

    def _is_abandoned(self, response_id: str, lease: int | None) -> bool:
        return (lease or 0) < time.time() and not self.makes(response_id)

    async def cancel(self, caller: Caller, response_id: str) -> None:
        """Have a running response cancelled by its maker. Raises Unavailable."""
        try:
            if self.stored is not None:
                await self.stored.cancel(response_id, owner_of(caller))
        except StoreError as error:
            raise _store_unavailable() from error

    async def ended(self, caller: Caller, response_id: str) -> StoredResponse:
        """A cancelled response, once it has ended; it is ended here if its maker does not. Raises NotFound."""
        until = time.monotonic() + _CANCEL_S
        while True:
            found = await self.get(caller, response_id)
            if not found.runs:
                return found
            if time.monotonic() > until:
                return await self._cut(caller, found)
            await asyncio.sleep(_LOOK_S)

    async def _cut(self, caller: Caller, found: StoredResponse) -> StoredResponse:
        """End a response whose maker is gone, with its stored content. Raises Unavailable."""
        so_far, number = SoFar(), 0
        while (piece := await self.events(found.id, number)) is not None and piece.next > number:
            for event in events_in(piece.data):
                so_far.feed(event)
            number = piece.next
        cancelled = found.status == CANCELLING
        response = {**from_json(found.body), **so_far.response, "status": "cancelled" if cancelled else "failed"}
        response["error"] = None if cancelled else STOPPED
        closing = so_far.cut()
        response["output"] = so_far.output
        last = [*closing, {"type": "response.failed", "response": response}]
        events = [{**event, "sequence_number": at} for at, event in enumerate(last, number)]
        data = b"".join([EVENTS.framed(to_json(event), str(event["type"])) for event in events])
        ending = EventPiece(number, number + len(events), data, final=True) if number else None
        await self.end(found.id, str(response["status"]), to_json(response).decode(), ending)
        return await self._get(caller, found.id)

    async def run_state(self, caller: Caller, response_id: str) -> RunState:
        """The state of the caller's response; failed if its process is gone. Raises NotFound."""
        found = None
        if self.stored is not None:
            try:
                found = await self.stored.state(response_id, owner_of(caller))
            except StoreError as error:
                raise _store_unavailable() from error
            except ValueError:
                found = None
        if found is None:
            _not_found(response_id)
        if found.runs and self._is_abandoned(response_id, found.lease):
            ended = await self.get(caller, response_id)
            return found._replace(status=ended.status, lease=ended.lease)
        return found

    async def events(self, response_id: str, since: int) -> EventPiece | None:
        """A stored piece of a response's events, from this number on; or its last piece."""
        try:
            return None if self.stored is None else await self.stored.events(response_id, since)
        except StoreError as error:
            raise _store_unavailable() from error

    async def delete(self, caller: Caller, response_id: str) -> None:
        """Delete it. Raises NotFound."""
        try:
            deleted = self.stored is not None and await self.stored.delete(response_id, owner_of(caller))
        except StoreError as error:
            raise _store_unavailable() from error
        if not deleted:
            _not_found(response_id)

    async def input_items(self, call: Call, response_id: str) -> list[Fields]:
        """All input items of the response that still exist, oldest first. Raises NotFound."""
        chain = await self._chain(call, response_id)
        if not chain:
            _not_found(response_id)
        before = [item for each in chain[:-1] for item in _items_of(each)]
        return [*before, *cast("list[Fields]", from_json(chain[-1].input))]

    async def put(
        self, caller: Caller, fields: Fields, given: Sequence[Item], previous: str | None, *, status: str
    ) -> None:
        """Store a response. Raises Unavailable."""
        if self.stored is None:
            return
        kept = items.encoded(items.listed(given, str(fields["id"])))
        body = to_json(fields).decode()
        try:
            await self.stored.put(
                str(fields["id"]), owner_of(caller), previous=previous, status=status, items=kept, body=body
            )
        except (StoreError, ValueError) as error:
            _log.error("response not stored", error=str(error))
            raise _store_unavailable() from error

    async def end(self, response_id: str, status: str, body: str, last: EventPiece | None = None) -> bool:
        """Store the end of a running response. Returns whether it had not ended before. Raises Unavailable."""
        try:
            return self.stored is not None and await self.stored.end(response_id, status, body, last)
        except StoreError as error:
            raise _store_unavailable() from error

    async def _get(self, caller: Caller, response_id: str) -> StoredResponse:
        try:
            found = None if self.stored is None else await self.stored.get(response_id, owner_of(caller))
        except StoreError as error:
            raise _store_unavailable() from error
        except ValueError:  # an id that databases refuse
            found = None
        return found if found is not None else _not_found(response_id)

    async def _chain(self, call: Call, response_id: str) -> list[StoredResponse]:
        """A response after its predecessors; their memory is charged until the end of the request."""
        if self.stored is None:
            return []
        owner = owner_of(call.caller)
        try:
            size = _PER_BYTE * await self.stored.chain_size(response_id, owner)
            call.allocation.check_possible(
                size, "The conversation before this is too large to be read: begin a new one."
            )
            if size > UNCHARGED:
                call.allocation.charge(size)
            return await self.stored.chain(response_id, owner)
        except StoreError as error:
            raise _store_unavailable() from error
        except ValueError:
            return []


def owner_of(caller: Caller) -> str:
    """The owner of a response: the key that made it."""
    return caller.key_id or f"{caller.project_id}:{caller.name}"


def _by_response(ids: Iterable[str]) -> dict[str, list[str]]:
    """The ids of items by response. Raises InvalidRequest."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise InvalidRequest(f"Item '{each}' is referred to twice: leave one of them out.", param="input")
        seen.add(each)
        if (response_id := response_of(each)) is not None:
            found.setdefault(response_id, []).append(each)
    if len(found) > _MAX_REFERRED:
        raise InvalidRequest(
            f"'input' refers to items of {len(found)} responses, and may to those of {_MAX_REFERRED}: "
            "send the items themselves, or use 'previous_response_id'.",
            param="input",
        )
    return found


def _items_of(response: StoredResponse) -> list[Fields]:
    """The items of a response's own input and output."""
    output = from_json(response.body).get("output")
    own = output if isinstance(output, list) else []  # as sent by an upstream
    return [*from_json(response.input), *(item for item in own if isinstance(item, dict))]


def _is_unfinished_call(item: Fields) -> bool:
    """Whether it is an unfinished tool call, which cannot have a result."""
    return item.get("status") == "incomplete" and str(item.get("type")).endswith("_call")


def _unknown_previous(response_id: str) -> NoReturn:
    raise InvalidRequest(
        f"Previous response with id '{_shown(response_id)}' not found. It is not stored here, or another key's: send "
        "all items of the conversation in `input`.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def _not_found(response_id: str) -> NoReturn:
    raise NotFound(
        f"Response with id '{_shown(response_id)}' not found. It is not stored here, or another key's.",
        param="response_id",
    )


def _shown(response_id: str) -> str:
    plain = response_id.replace("_", "").replace("-", "")
    return response_id if len(response_id) <= 100 and plain.isascii() and plain.isalnum() else "..."


def _store_unavailable() -> Unavailable:
    return Unavailable(
        "What is stored of responses cannot be reached at the moment: send the request again in a while.",
        headers={"retry-after": "5"},
    )
