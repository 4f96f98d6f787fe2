"""The door of the Responses API. Whoever imports this module pays for the models of its contract."""

from ai_gateway.api.access import Access
from ai_gateway.api.responses.handlers import ResponsesHandlers
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.route import ContractRouter
from ai_gateway.contract.write import LateHeads
from ai_gateway.gateway import Gateway
from gateway_contract.openai_responses.routes import build_router


def responses_router(
    gateway: Gateway, access: Access, limits: BodyLimits, late_heads: LateHeads, sealing: bytes
) -> ContractRouter:
    """The operations of the Responses API, in front of whatever the gateway leads to."""
    handlers = ResponsesHandlers(gateway, access, limits, sealing)
    handlers.late_heads = late_heads
    return build_router(handlers)
