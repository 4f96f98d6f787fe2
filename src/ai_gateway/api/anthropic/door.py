"""The door of Anthropic's API. Importing this module loads the models of its contract."""

from ai_gateway.api.access import Access
from ai_gateway.api.anthropic.handlers import AnthropicHandlers
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.route import ContractRouter
from ai_gateway.contract.write import LateHeads
from ai_gateway.gateway import Gateway
from gateway_contract.anthropic.routes import build_router


def messages_router(gateway: Gateway, access: Access, limits: BodyLimits, late_heads: LateHeads) -> ContractRouter:
    """The operations of the Messages API."""
    handlers = AnthropicHandlers(gateway, access, limits)
    handlers.late_heads = late_heads
    return build_router(handlers)
