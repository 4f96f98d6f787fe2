"""Ids of a relayed response that are empty texts: clients match events, items and results of calls by them."""

from collections.abc import Mapping
from typing import Any

from ai_gateway.conform.rules import FILL_CALL_ID, FILL_ID, Rule
from ai_gateway.conform.tool_calls import made_call_id
from ai_gateway.contract.item_ids import item_id

type _Fields = Mapping[str, Any]

_EMPTY = ""


class FilledIds:
    """Fills in the ids of one response and its items, the same ones each time. `applied` are the rules that it took.

    `response` is the response's id, if the upstream's cannot be sent.
    """

    def __init__(self, request_id: str) -> None:
        self.response = ""
        self.applied: set[Rule] = set()
        self._request_id = request_id
        self._made: dict[int, str] = {}

    def made_response(self) -> str:
        """The id of a response without one."""
        self.response = f"resp_{self._request_id}"
        return self.response

    def event(self, value: _Fields) -> _Fields:
        """The event itself, or a copy with ids."""
        index, change = value.get("output_index"), dict[str, Any]()
        if isinstance(index, int):
            item = value.get("item")
            if isinstance(item, dict) and (filled := self._item(index, item)) is not item:
                change["item"] = filled
            if value.get("item_id") == _EMPTY and index in self._made:
                change["item_id"] = self._made[index]
        response = value.get("response")
        if isinstance(response, dict) and (whole := self.whole(response)) is not response:
            change["response"] = whole
        return {**value, **change} if change else value

    def whole(self, response: _Fields) -> _Fields:
        """The response itself, or a copy with ids."""
        change: dict[str, Any] = {}
        if response.get("id") == _EMPTY and not self.response:
            self.applied.add(FILL_ID)
            self.made_response()
        if self.response and response.get("id") != self.response:
            change["id"] = self.response
        output = response.get("output")
        if isinstance(output, list):
            items = [self._item(at, item) for at, item in enumerate(output)]
            if any(new is not old for new, old in zip(items, output, strict=True)):
                change["output"] = items
        return {**response, **change} if change else response

    def _item(self, index: int, item: object) -> object:
        change: dict[str, str] = {}
        if not isinstance(item, dict):
            return item
        if item.get("id") == _EMPTY:
            self.applied.add(FILL_ID)
            kind = str(item.get("type"))
            change["id"] = self._made.setdefault(index, item_id(kind, made_call_id(self._request_id, 0, 0), index))
        if item.get("call_id") == _EMPTY:
            self.applied.add(FILL_CALL_ID)
            change["call_id"] = made_call_id(self._request_id, 0, index)
        return {**item, **change} if change else item
