"""OpenAI's Administration API, and the gateway's own operations of administration."""

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
