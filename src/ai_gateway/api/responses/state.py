"""Responses that are kept: whose they are, what may be kept, and what they are to those who ask for them."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, cast

import structlog
from pydantic_core import from_json, to_json

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import ORGANIZATION, DataRetention
from ai_gateway.accounts.responses import CANCELLING, RunState, StoredResponse, StoredResponses, Told
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.api.responses import items
from ai_gateway.api.responses.background import STOPPED
from ai_gateway.api.responses.events import events_in
from ai_gateway.conform.response_so_far import SoFar
from ai_gateway.contract.budget import UNWEIGHED
from ai_gateway.contract.call import Call, Caller
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.item_ids import response_of
from ai_gateway.errors import InvalidRequest, NotFound, Unavailable
from ai_gateway.translate.responses_chat.conversation import Item
from ai_gateway.translate.responses_chat.tools import Fields

_NOTHING_MAY_BE_KEPT = "zero_data_retention"
_CANCEL_S = 5.0  # whoever makes it learns within 2 s that it was cancelled
_LOOK_S = 0.05
_MOST_REFERRED = 1_000  # responses whose items one request may refer to: a client may name those of every turn
_PER_BYTE = 4  # as it is stored, as it is read, and as messages
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """`stored` is None where nothing is kept, `directory` knows what projects allow to be kept."""

    stored: StoredResponses | None
    directory: Directory | None

    def may_keep(self, caller: Caller) -> bool:
        """Whether responses for this caller may be stored."""
        if self.stored is None or self.directory is None:
            return False
        kept = self.directory.get(DataRetention, caller.project_id)
        if kept is None or kept.type == "organization_default":
            kept = self.directory.get(DataRetention, ORGANIZATION)
        return kept is None or _NOTHING_MAY_BE_KEPT not in kept.type

    async def history(self, call: Call, response_id: str) -> list[Fields]:
        """The items that led to a response, and its own. Raises InvalidRequest where it is not there for the caller.

        From now on the call counts for their bytes as well.
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
        return [item for each in chain for item in _said(each) if not _is_half_a_call(item)]

    async def items(self, call: Call, ids: Iterable[str]) -> dict[str, Fields]:
        """The items with these ids, as far as they are of responses that are kept for the caller.

        From now on the call counts for their bytes as well. Raises Unavailable, InvalidRequest for an id that is there
        twice or for too many responses, since a few bytes stand for many here, and PayloadTooLarge.
        """
        found: dict[str, Fields] = {}
        size = 0
        for response_id, own in _by_response(ids).items():
            try:
                response = await self._get(call.caller, response_id)
            except NotFound:
                continue
            said = {str(item.get("id")): item for item in _said(response)}
            here = {each: said[each] for each in own if each in said}
            size += len(to_json(here))
            call.room.check_possible(_PER_BYTE * size, "The items that 'input' refers to are too large together.")
            found |= here
        call.room.charge_at_most(_PER_BYTE * size)
        call.recalled += size
        return found

    async def get(self, caller: Caller, response_id: str) -> StoredResponse:
        """The caller's response. One that ran in a process that is gone has failed. Raises NotFound."""
        found = await self._get(caller, response_id)
        if found.runs and (found.lease or 0) < time.time():
            found = await self._cut(caller, found)
        if found.runs:
            shown = "in_progress" if found.status == CANCELLING else found.status
            found = replace(found, body=to_json({**from_json(found.body), "status": shown}).decode())
        return found

    async def cancel(self, caller: Caller, response_id: str) -> None:
        """Have one that runs ended by whoever makes it. Raises Unavailable."""
        try:
            if self.stored is not None:
                await self.stored.cancel(response_id, owner_of(caller))
        except StoreError as error:
            raise _away() from error

    async def ended(self, caller: Caller, response_id: str) -> StoredResponse:
        """One that was cancelled, once it has ended: if nobody does that in time, it is ended here. Raises NotFound."""
        until = time.monotonic() + _CANCEL_S
        while True:
            found = await self.get(caller, response_id)
            if not found.runs:
                return found
            if time.monotonic() > until:
                return await self._cut(caller, found)
            await asyncio.sleep(_LOOK_S)

    async def _cut(self, caller: Caller, found: StoredResponse) -> StoredResponse:
        """End one whose maker is gone with what is stored of it. Raises Unavailable."""
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
        told = [{**event, "sequence_number": at} for at, event in enumerate(last, number)]
        data = b"".join([EVENTS.framed(to_json(event), str(event["type"])) for event in told])
        ending = Told(number, number + len(told), data, final=True) if number else None
        await self.end(found.id, str(response["status"]), to_json(response).decode(), ending)
        return await self._get(caller, found.id)

    async def run_state(self, caller: Caller, response_id: str) -> RunState:
        """How far the caller's response is. One that ran in a process that is gone has failed. Raises NotFound."""
        found = None
        if self.stored is not None:
            try:
                found = await self.stored.state(response_id, owner_of(caller))
            except StoreError as error:
                raise _away() from error
            except ValueError:
                found = None
        if found is None:
            _not_found(response_id)
        if found.runs and (found.lease or 0) < time.time():
            ended = await self.get(caller, response_id)
            return found._replace(status=ended.status, lease=ended.lease)
        return found

    async def events(self, response_id: str, since: int) -> Told | None:
        """A piece of what a response has told, with the event of this number or the next ones; or its last piece."""
        try:
            return None if self.stored is None else await self.stored.events(response_id, since)
        except StoreError as error:
            raise _away() from error

    async def delete(self, caller: Caller, response_id: str) -> None:
        """Forget it. Raises NotFound."""
        try:
            deleted = self.stored is not None and await self.stored.delete(response_id, owner_of(caller))
        except StoreError as error:
            raise _away() from error
        if not deleted:
            _not_found(response_id)

    async def input_items(self, call: Call, response_id: str) -> list[Fields]:
        """Everything that the response was made from and that is still there, oldest first. Raises NotFound."""
        chain = await self._chain(call, response_id)
        if not chain:
            _not_found(response_id)
        before = [item for each in chain[:-1] for item in _said(each)]
        return [*before, *cast("list[Fields]", from_json(chain[-1].input))]

    async def put(
        self, caller: Caller, fields: Fields, given: Sequence[Item], previous: str | None, *, status: str
    ) -> None:
        """Keep a response. Raises Unavailable."""
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
            raise _away() from error

    async def end(self, response_id: str, status: str, body: str, last: Told | None = None) -> bool:
        """What became of one that ran. Whether that was open until now. Raises Unavailable."""
        try:
            return self.stored is not None and await self.stored.end(response_id, status, body, last)
        except StoreError as error:
            raise _away() from error

    async def _get(self, caller: Caller, response_id: str) -> StoredResponse:
        try:
            found = None if self.stored is None else await self.stored.get(response_id, owner_of(caller))
        except StoreError as error:
            raise _away() from error
        except ValueError:  # an id that no database takes
            found = None
        return found if found is not None else _not_found(response_id)

    async def _chain(self, call: Call, response_id: str) -> list[StoredResponse]:
        """A response behind those that led to it, with room for all of them until the end of the request."""
        if self.stored is None:
            return []
        owner = owner_of(call.caller)
        try:
            size = _PER_BYTE * await self.stored.chain_size(response_id, owner)
            call.room.check_possible(size, "The conversation before this is too large to be read: begin a new one.")
            if size > UNWEIGHED:
                call.room.charge(size)
            return await self.stored.chain(response_id, owner)
        except StoreError as error:
            raise _away() from error
        except ValueError:
            return []


def owner_of(caller: Caller) -> str:
    """Whose a response is: the key's that made it."""
    return caller.key_id or f"{caller.project_id}:{caller.name}"


def _by_response(ids: Iterable[str]) -> dict[str, list[str]]:
    """The ids of items by the responses that they are of. Raises InvalidRequest."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise InvalidRequest(f"Item '{each}' is referred to twice: leave one of them out.", param="input")
        seen.add(each)
        if (response_id := response_of(each)) is not None:
            found.setdefault(response_id, []).append(each)
    if len(found) > _MOST_REFERRED:
        raise InvalidRequest(
            f"'input' refers to items of {len(found)} responses, and may to those of {_MOST_REFERRED}: "
            "send the items themselves, or use 'previous_response_id'.",
            param="input",
        )
    return found


def _said(response: StoredResponse) -> list[Fields]:
    """The items of a response's own input and of its output."""
    output = from_json(response.body).get("output")
    own = output if isinstance(output, list) else []  # as an upstream has said it
    return [*from_json(response.input), *(item for item in own if isinstance(item, dict))]


def _is_half_a_call(item: Fields) -> bool:
    """Whether it is a call whose end the model never told, which nobody can have answered."""
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


def _away() -> Unavailable:
    return Unavailable(
        "What is stored of responses cannot be reached at the moment: send the request again in a while.",
        headers={"retry-after": "5"},
    )
