"""Ids of the items of a response."""

from collections.abc import Mapping
from typing import Final

# What OpenAI's own ids begin with, by the type of the item.
_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
    "tool_search_call": "tsc_",
    "local_shell_call": "lsh_",
    "shell_call": "sh_",
    "apply_patch_call": "apc_",
    "web_search_call": "ws_",
    "code_interpreter_call": "ci_",
    "mcp_call": "mcp_",
    "mcp_list_tools": "mcpl_",
}


def item_id(kind: str, response_id: str, at: int) -> str:
    """The id of a response's item of this type, which is the one at this place: always the same."""
    return f"{_PREFIXES.get(kind, 'item_')}{response_id.rpartition('_')[2]}{at:04x}"
