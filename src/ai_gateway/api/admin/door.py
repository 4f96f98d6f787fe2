"""The door of administration. Importing this module loads the models of its contract."""

from ai_gateway.accounts.directory import Directory
from ai_gateway.api.access import Access
from ai_gateway.api.admin.handlers import AdminHandlers
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.route import ContractRouter
from gateway_contract.openai_admin.routes import build_router


def admin_router(directory: Directory, access: Access, limits: BodyLimits) -> ContractRouter:
    """The operations of administrators."""
    return build_router(AdminHandlers(directory, access, limits))
