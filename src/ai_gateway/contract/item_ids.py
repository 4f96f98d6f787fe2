"""Ids of the items of a response."""

import re
from collections.abc import Mapping
from typing import Final

# Prefixes of OpenAI's own ids, by the type of the item.
_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "tool_search_call": "tsc_",
    "tool_search_output": "tso_",
    "local_shell_call": "lsh_",
    "local_shell_call_output": "lsho_",
    "shell_call": "sh_",
    "shell_call_output": "sho_",
    "apply_patch_call": "apc_",
    "apply_patch_call_output": "apco_",
    "compaction": "cmp_",
    "additional_tools": "at_",
    "web_search_call": "ws_",
    "code_interpreter_call": "ci_",
    "mcp_call": "mcp_",
    "mcp_list_tools": "mcpl_",
}
_GIVEN: Final = 0x8000  # first place of input items, behind those of the output
_MADE = re.compile("[a-z]+_([0-9a-f]{48})[0-9a-f]{4,8}")


def item_id(kind: str, response_id: str, at: int) -> str:
    """The id of a response's output item, derived from its type and place, so that it is always the same."""
    return f"{_PREFIXES.get(kind, 'item_')}{response_id.rpartition('_')[2]}{at:04x}"


def given_id(kind: str, response_id: str, at: int) -> str:
    """The same for an input item that came without an id."""
    return item_id(kind, response_id, _GIVEN + at)


def response_of(item_id: str) -> str | None:
    """The id of the response that an item belongs to, if the gateway made the item's id."""
    found = _MADE.fullmatch(item_id)
    return None if found is None else f"resp_{found[1]}"
