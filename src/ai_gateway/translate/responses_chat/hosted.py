"""Tools that a server runs, and those of the gateway's that stand for them.

A request's `web_search` and `code_interpreter` are run here where the gateway has such tools for the caller. A search
that may not leave the provider's own index (`external_web_access: false`) is none of the gateway's.
"""

from collections.abc import Callable
from typing import Final

from ai_gateway.translate.responses_chat.offered import Offered, Tool
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

type Hosted = openai.GatewayWebSearchTool | openai.GatewayCodeExecutionTool

_SEARCH: Final = "gateway:web_search"
_CODE: Final = "gateway:code_execution"


def claim(offered: Offered, has: Callable[[str], bool]) -> dict[str, Hosted]:
    """Take the tools that the gateway `has`, by the name that it has for them, out of those that nobody runs."""
    claimed: dict[str, Hosted] = {}
    left = []
    for at, tool in offered.hosted:
        made = _claimed(tool)
        if made is not None and has(made.type.partition(":")[2]):
            claimed.setdefault(made.type, made)
        else:
            left.append((at, tool))
    offered.hosted = left
    return claimed


def _claimed(tool: Tool) -> Hosted | None:
    match tool:
        case responses.WebSearchTool(external_web_access=False):
            return None
        case responses.WebSearchTool():
            search = openai.GatewayWebSearchTool(type=_SEARCH)
            domains = tool.filters.allowed_domains if tool.filters is not None else None
            if domains:
                search.allowed_domains = [*domains]
            return search
        case responses.WebSearchPreviewTool():
            return openai.GatewayWebSearchTool(type=_SEARCH)
        case responses.CodeInterpreterTool():
            return openai.GatewayCodeExecutionTool(type=_CODE)
        case _:
            return None
