"""The grammar of the items of tools that a server runs: their states, in order, and what they were given."""

import re
from dataclasses import dataclass, field
from typing import Any

# The states of each kind, in a form of their own: what its events are called behind `response.`.
_STATES = {
    "web_search_call": r"in_progress searching( completed)?",
    "code_interpreter_call": r"in_progress( code\.delta)* code\.done interpreting( completed)?",
    "mcp_call": r"in_progress( arguments\.delta)* arguments\.done (completed|failed)",
    "mcp_list_tools": r"in_progress (completed|failed)",
}
_GIVEN = {"code_interpreter_call": "code", "mcp_call": "arguments"}
KINDS = frozenset(_STATES)


class Wrong(ValueError):
    """What is wrong with an item."""


@dataclass
class HostedItem:
    """One item from where it is added until it is done."""

    item: dict[str, Any]
    states: list[str] = field(default_factory=list)
    given: str = ""

    def feed(self, event: dict[str, Any]) -> None:
        """An event of it. Raises Wrong."""
        kind = self.item["type"]
        if event["item_id"] != self.item["id"]:
            raise Wrong(f"{event['type']} is of another item")
        state = event["type"].removeprefix(f"response.{kind}").lstrip("._")
        self.states.append(state)
        if state.endswith(".delta"):
            self.given += event["delta"]
        elif state.endswith(".done") and event[_GIVEN[kind]] != self.given:
            raise Wrong(f"{event[_GIVEN[kind]]!r} is not what the deltas said")

    def end(self, item: dict[str, Any]) -> None:
        """The item when it is done. Raises Wrong."""
        kind = self.item["type"]
        if (item["type"], item["id"]) != (kind, self.item["id"]):
            raise Wrong("another item is done")
        told = " ".join(self.states)
        if not re.fullmatch(_STATES[kind], told):
            raise Wrong(f"{kind} goes through: {told}")
        if "status" in item and (item["status"] == "completed") is not ("completed" in self.states):
            raise Wrong(f"{kind} is {item['status']} after: {told}")
        if kind in _GIVEN and (item[_GIVEN[kind]] or "") != self.given:
            raise Wrong(f"{kind} was given something else than its events said")
