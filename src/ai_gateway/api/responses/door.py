"""The door of the Responses API. Importing this module loads the models of its contract."""

from collections.abc import Callable

from ai_gateway.accounts.directory import Directory
from ai_gateway.api.access import Access
from ai_gateway.api.responses.background import Background
from ai_gateway.api.responses.handlers import ResponsesHandlers
from ai_gateway.api.responses.making import Maker
from ai_gateway.api.responses.state import State
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.route import ContractRouter
from ai_gateway.contract.write import LateHeads
from ai_gateway.gateway import Gateway
from gateway_contract.openai_responses.routes import build_router


def responses_router(  # noqa: PLR0913 - what the door leads to
    gateway: Gateway,
    access: Access,
    limits: BodyLimits,
    *,
    late_heads: LateHeads,
    sealing: Callable[[str], bytes],
    background: Background,
    directory: Directory | None,
) -> ContractRouter:
    """The operations of the Responses API."""
    maker = Maker(gateway, State(background.stored, directory), background, sealing)
    handlers = ResponsesHandlers(maker, access, limits)
    handlers.late_heads = late_heads
    return build_router(handlers)
