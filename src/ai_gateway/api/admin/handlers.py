"""OpenAI's Administration API, and the gateway's own operations of administration.

Imported at the first request, since it loads the models of the contract.
"""

from collections.abc import Callable

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.webhook import WebhookNetwork
from ai_gateway.api.access import Access
from ai_gateway.api.admin.admin_keys import AdminKeys
from ai_gateway.api.admin.audit_logs import AuditLogs
from ai_gateway.api.admin.memories import KeptMemories
from ai_gateway.api.admin.permissions import Permissions, Retention
from ai_gateway.api.admin.projects import Projects
from ai_gateway.api.admin.rate_limits import RateLimits
from ai_gateway.api.admin.records import Records
from ai_gateway.api.admin.service_accounts import ServiceAccounts
from ai_gateway.api.admin.spending import SpendAlerts, SpendLimits
from ai_gateway.api.admin.usage import Usage
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.route import ContractRouter
from gateway_contract.openai_admin.routes import build_router


class AdminHandlers(
    AdminKeys,
    Projects,
    ServiceAccounts,
    RateLimits,
    SpendLimits,
    SpendAlerts,
    Permissions,
    Retention,
    AuditLogs,
    Usage,
    Records,
    KeptMemories,
):
    """All operations; each group is in a module of its own."""


def admin_router(
    directory: Directory,
    access: Access,
    limits: BodyLimits,
    network: Callable[[], WebhookNetwork] = lambda: WebhookNetwork("any"),
) -> ContractRouter:
    """The operations of administrators. `network` says where webhooks may be, which each delivery checks again."""
    handlers = AdminHandlers(directory, access, limits)
    handlers.network = network
    return build_router(handlers)
