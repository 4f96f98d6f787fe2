"""Background responses of upstreams that speak the Responses API: presented under the id that the client was given.

The upstream's content is unchanged. Only ids, storage fields and sequence numbers are the gateway's.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, override

from pydantic_core import from_json, to_json

from ai_gateway.api.response_bridge import response_error
from ai_gateway.api.responses.making import Promised
from ai_gateway.api.responses.queueing import EventSource, Whole
from ai_gateway.conform.response_so_far import SoFar
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.native import event_type
from ai_gateway.contract.stream import Framed, Stream
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.responses_chat.tools import Fields

_CREATED, _QUEUED, _IN_PROGRESS = "response.created", "response.queued", "response.in_progress"
_ENDS: Final[Mapping[str, str]] = {f"response.{each}": each for each in ("completed", "incomplete", "failed")}
_OVER: Final = frozenset({*_ENDS.values(), "cancelled"})
_DATA: Final = b"data:"
_NUMBER: Final = re.compile(rb'("sequence_number"\s*:\s*)\d+')
_UNENDED: Final = {"code": "server_error", "message": "The provider has not ended the response."}


def own(request: Promised, response: Mapping[str, Any], status: str) -> Fields:
    """An upstream's response with the promised id and fields."""
    kept = {"background": True, "store": True, "previous_response_id": request.body.previous_response_id}
    return {**response, "id": request.id, "created_at": request.created_at, "status": status, **kept}


class AdoptedWhole(Whole):
    """A response without a stream. `fetch` gives its JSON; `fallback_items` the items of a translated one."""

    def __init__(
        self, request: Promised, fetch: Callable[[], Awaitable[Fields]], fallback_items: Callable[[], list[Any]] = list
    ) -> None:
        self._request, self._fetch, self._fallback_items = request, fetch, fallback_items

    @override
    async def make(self) -> Fields:
        response = await self._fetch()
        status = response.get("status") or "completed"
        if status in _OVER:
            return own(self._request, response, str(status))
        return own(self._request, {**response, "error": {**_UNENDED}}, "failed")

    @override
    def so_far(self) -> list[Any]:
        return self._fallback_items()


class AdoptedEvents(EventSource):
    """A streamed response, with the upstream's events in `stream`."""

    def __init__(self, request: Promised, stream: Stream[Any]) -> None:
        self._final = b""
        self._request = request
        self._items: AsyncGenerator[Any] = stream.items
        self._number = 0
        self._so_far = SoFar()
        self._has_begun = False
        self._error: Mapping[str, Any] | None = None

    @property
    @override
    def number(self) -> int:
        return self._number

    @property
    @override
    def final(self) -> bytes:
        return self._final

    @override
    def queued(self) -> bytes:
        response = self._request.outline("queued")
        return b"".join([self._event({"type": name, "response": response}) for name in (_CREATED, _QUEUED)])

    @override
    async def events(self) -> AsyncGenerator[Framed]:
        async with aclosing(self._items) as pieces:
            async for piece in pieces:
                lines = [line[len(_DATA) :] for line in piece.data.splitlines() if line.startswith(_DATA)]
                if written := b"".join([self._adopted(line.strip()) for line in lines if line.strip() != b"[DONE]"]):
                    yield Framed(written)

    @override
    def failed(self, error: Mapping[str, str]) -> bytes:
        return self._cut("failed", self._upstream_error() or error)

    @override
    def cancelled(self) -> bytes:
        return self._cut("cancelled", None)

    def _adopted(self, data: bytes) -> bytes:
        """An upstream's event as one of the promised response; empty if it was sent already, or after the end."""
        if self._final:
            return b""
        try:
            value = from_json(data)
        except ValueError:  # a lone surrogate, which the client joins
            return self._renumbered(data)
        name = value.get("type") if isinstance(value, dict) else None
        if not isinstance(name, str) or name in {_CREATED, _QUEUED}:
            return b""
        written = b"" if name == _IN_PROGRESS else self._begin()
        self._has_begun = True
        response = value.get("response")
        if isinstance(response, dict) or name in _ENDS:
            value["response"] = self._own(response if isinstance(response, dict) else {}, name)
        self._so_far.feed(value)
        if name == "error":
            self._error = value
        if name in _ENDS:
            self._final = _json(value["response"])
        return written + self._event(value)

    def _own(self, upstream_response: Mapping[str, Any], name: str) -> Fields:
        response = own(self._request, upstream_response or self._request.outline(""), _ENDS.get(name, "in_progress"))
        if name in _ENDS and not response.get("output"):  # as in github.com/BerriAI/litellm/pull/32724
            response["output"] = self._so_far.output
        return response

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        return self._event({"type": _IN_PROGRESS, "response": self._request.outline("in_progress")})

    def _cut(self, status: str, error: Mapping[str, str] | None) -> bytes:
        written = self._begin()
        written += b"".join([self._event(each) for each in self._so_far.cut()])
        response = {
            **(self._so_far.response or self._request.outline(status)),
            "status": status,
            "error": dict(error) if error is not None else None,
            "output": self._so_far.output,
        }
        self._final = _json(response)
        return written + self._event({"type": "response.failed", "response": response})

    def _upstream_error(self) -> Mapping[str, str] | None:
        """The upstream's error before the stream broke off."""
        if self._error is None:
            return None
        inner = self._error.get("error")
        reported = inner if isinstance(inner, dict) else self._error
        error = {**reported, "message": str(reported.get("message") or _UNENDED["message"])}
        return response_error(to_json({"error": error}, inf_nan_mode="null"), 500)

    def _renumbered(self, data: bytes) -> bytes:
        """An unreadable event, with the gateway's sequence number."""
        written = self._begin()
        number, self._number = b"%d" % self._number, self._number + 1
        renumbered, found = _NUMBER.subn(lambda match: match[1] + number, data, count=1)
        if not found or not (name := event_type(data)):
            raise UpstreamInvalidResponse.off_contract(detail="an event that is no JSON")
        return written + EVENTS.framed(renumbered, name)

    def _event(self, value: Mapping[str, Any]) -> bytes:
        number, self._number = self._number, self._number + 1
        return EVENTS.framed(_json({**value, "sequence_number": number}), str(value["type"]))


def _json(value: Mapping[str, Any]) -> bytes:
    return to_json(value, inf_nan_mode="null")
