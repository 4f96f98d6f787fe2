"""The audit log: every administrative act, the newest first."""

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, cast, override

from ai_gateway.accounts.entities import Project
from ai_gateway.accounts.store.base import Row, StoreError
from ai_gateway.api.admin.base import Administration, store_unavailable
from ai_gateway.api.admin.pages import no_place
from ai_gateway.contract.call import Call
from gateway_contract.openai_admin import models

_BATCH = 500
_ID = re.compile(r"audit_log_[0-9a-f]{24}")
_BEGINNING, _END = 0, 2**53
# Ids are in the order of events, since every collation sorts hexadecimal digits alike. No artificial bounds are used:
# whether a text sorts behind all ids depends on the database's collation.
_OLDER: Final = """SELECT id, at, type, project_id, actor, body FROM audit
    WHERE (CAST($1 AS TEXT) IS NULL OR id < $1) AND (CAST($2 AS TEXT) IS NULL OR id > $2)
    AND at >= $3 AND at <= $4 ORDER BY id DESC LIMIT $5"""
_NEWER: Final = """SELECT id, at, type, project_id, actor, body FROM audit
    WHERE (CAST($1 AS TEXT) IS NULL OR id < $1) AND (CAST($2 AS TEXT) IS NULL OR id > $2)
    AND at >= $3 AND at <= $4 ORDER BY id LIMIT $5"""

type _Wanted = Callable[[str, str | None, dict[str, Any], dict[str, Any]], bool]


class AuditLogs(Administration):
    @override
    async def list_audit_logs(self, call: Call, query: models.ListAuditLogsQuery) -> models.ListAuditLogsResponse:
        for name, cursor in (("after", query.after), ("before", query.before)):
            if cursor and not _ID.fullmatch(cursor):  # compared as text, it would have a place anywhere
                raise no_place(name)
        try:
            found = [entry async for entry in self._entries(query)]
        except StoreError as error:
            raise store_unavailable(error) from error
        cut = found[: query.limit]
        if query.before and not query.after:
            cut.reverse()
        return models.ListAuditLogsResponse(
            object="list",
            data=cut,
            first_id=cut[0].id if cut else None,
            last_id=cut[-1].id if cut else None,
            has_more=0 < len(cut) < len(found),
        )

    async def _entries(self, query: models.ListAuditLogsQuery) -> AsyncIterator[models.AuditLog]:
        """The requested entries, one more than fits on a page, from the cursor on in its direction."""
        first, last = _range(query.effective_at)
        wanted = _wanted(query)
        backward = bool(query.before) and not query.after
        below, above = query.after or None, query.before or None
        count = 0
        while count <= query.limit:
            statement = _NEWER if backward else _OLDER
            rows = await self.directory.store.fetch(statement, below, above, first, last, _BATCH)
            for row in rows:
                entry = self._entry(row, wanted)
                if entry is not None:
                    count += 1
                    yield entry
                if count > query.limit:
                    return
            if len(rows) < _BATCH:
                return
            if backward:
                above = str(rows[-1][0])
            else:
                below = str(rows[-1][0])

    def _entry(self, row: Row, wanted: _Wanted) -> models.AuditLog | None:
        identifier, at, kind, project_id, who, body = row
        actor, payload = json.loads(str(who)), json.loads(str(body))["payload"]
        project_id = cast("str | None", project_id)
        if not wanted(str(kind), project_id, actor, payload):
            return None
        entry: dict[str, Any] = {"id": identifier, "type": kind, "effective_at": at, "actor": _actor(actor)}
        if project_id is not None:
            project = self.directory.get(Project, project_id)
            entry["project"] = {"id": project_id, "name": (project and project.name) or project_id}
        for name in ("before", "after"):
            entry[name] = payload.pop(name, None)
        # A removed limit is `null` here, which no field of the official details can be.
        entry[str(kind)] = payload
        return models.AuditLog.model_validate(entry)


def _range(query_range: models.ListAuditLogsQueryEffectiveAt | None) -> tuple[int, int]:
    """The first and the last requested second."""
    if query_range is None:
        return _BEGINNING, _END
    first = [
        _BEGINNING if query_range.gte is None else query_range.gte,
        _BEGINNING if query_range.gt is None else query_range.gt + 1,
    ]
    last = [
        _END if query_range.lte is None else query_range.lte,
        _END if query_range.lt is None else query_range.lt - 1,
    ]
    return max(first), min(last)


def _wanted(query: models.ListAuditLogsQuery) -> _Wanted:
    def wanted(kind: str, project_id: str | None, actor: dict[str, Any], payload: dict[str, Any]) -> bool:
        return (
            (not query.event_types or kind in query.event_types)
            and (not query.project_ids or project_id in query.project_ids)
            and (not query.actor_ids or actor["key_id"] in query.actor_ids)
            and (not query.actor_emails)  # keys have no email address
            and (not query.resource_ids or payload.get("id") in query.resource_ids)
            and (not query.tenant_only or kind.startswith("tenant."))
        )

    return wanted


def _actor(actor: dict[str, Any]) -> dict[str, Any]:
    """A key or, for the command line on the gateway's own machine, a session without a user."""
    if actor["key_id"] is None:
        session = {"user": {"id": actor["name"]}}
        return {"type": "session", "session": session}
    account = {"id": actor["key_id"], "name": actor["name"]}
    key: dict[str, Any] = {"id": actor["key_id"], "type": "service_account", "service_account": account}
    found: dict[str, Any] = {"type": "api_key", "api_key": key}
    if actor["address"]:
        found["ip_address"] = actor["address"]
    if actor["user_agent"]:
        found["user_agent"] = actor["user_agent"]
    return found
