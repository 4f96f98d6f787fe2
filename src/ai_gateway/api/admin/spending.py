"""Spend limits of the organization and of projects, and spend alerts."""

import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, override

from ai_gateway.accounts.directory import Change, new_id
from ai_gateway.accounts.entities import ORGANIZATION, SpendAlert, SpendLimit
from ai_gateway.accounts.webhook import SECRET_PREFIX, WebhookNetwork, signing_key
from ai_gateway.api.admin.base import Administration, audit_change, checked_zone
from ai_gateway.api.admin.pages import Order, Page, by_time, page
from ai_gateway.contract.call import Call
from ai_gateway.errors import InvalidRequest, NotFound
from gateway_contract.openai_admin import models

type _LimitBody = models.UpdateOrganizationSpendLimitBody | models.UpdateProjectSpendLimitBody
_SECRET_BYTES: Final = 32


class SpendLimits(Administration):
    @override
    async def retrieve_organization_spend_limit(self, call: Call) -> models.OrganizationSpendLimitResource:
        await self.fresh()
        return models.OrganizationSpendLimitResource.model_validate(
            await self._limit(self._find_spend_limit(ORGANIZATION), "organization.spend_limit")
        )

    @override
    async def update_organization_spend_limit(
        self, call: Call, body: models.UpdateOrganizationSpendLimitBody
    ) -> models.OrganizationSpendLimitResource:
        async with self.change(call) as change:
            limit = self._put_limit(change, ORGANIZATION, body)
        return models.OrganizationSpendLimitResource.model_validate(
            await self._limit(limit, "organization.spend_limit")
        )

    @override
    async def delete_organization_spend_limit(self, call: Call) -> models.OrganizationSpendLimitDeletedResource:
        async with self.change(call) as change:
            self._delete_limit(change, ORGANIZATION)
        return models.OrganizationSpendLimitDeletedResource(object="organization.spend_limit.deleted", deleted=True)

    @override
    async def retrieve_project_spend_limit(self, call: Call, project_id: str) -> models.ProjectSpendLimitResource:
        await self.fresh()
        limit = self._find_spend_limit(self.project(project_id).id)
        return models.ProjectSpendLimitResource.model_validate(await self._limit(limit, "project.spend_limit"))

    @override
    async def update_project_spend_limit(
        self, call: Call, project_id: str, body: models.UpdateProjectSpendLimitBody
    ) -> models.ProjectSpendLimitResource:
        async with self.change(call) as change:
            limit = self._put_limit(change, self.active_project(project_id).id, body)
        return models.ProjectSpendLimitResource.model_validate(await self._limit(limit, "project.spend_limit"))

    @override
    async def delete_project_spend_limit(self, call: Call, project_id: str) -> models.ProjectSpendLimitDeletedResource:
        async with self.change(call) as change:
            self._delete_limit(change, self.active_project(project_id).id)
        return models.ProjectSpendLimitDeletedResource(object="project.spend_limit.deleted", deleted=True)

    def _find_spend_limit(self, entity: str) -> SpendLimit:
        limit = self.directory.get(SpendLimit, entity)
        if limit is None:
            raise NotFound("No spend limit is set.")
        return limit

    def _put_limit(self, change: Change, entity: str, body: _LimitBody) -> SpendLimit:
        former = self.directory.get(SpendLimit, entity)
        limit = SpendLimit(
            id=entity,
            threshold_amount=body.threshold_amount,
            interval=body.interval,
            time_zone=checked_zone(body.time_zone),
            currency=body.currency,
        )
        change.put(limit)
        audit_change(change, entity, "spend_limit", former, limit)
        return limit

    def _delete_limit(self, change: Change, entity: str) -> None:
        former = self._find_spend_limit(entity)
        change.delete(SpendLimit, entity)
        audit_change(change, entity, "spend_limit", former, None)

    async def _limit(self, limit: SpendLimit, kind: str) -> dict[str, Any]:
        """The limit in the contract's form."""
        return {
            "object": kind,
            "threshold_amount": limit.threshold_amount,
            "currency": limit.currency,
            "interval": limit.interval,
            "enforcement": {"status": "enforcing" if await self.is_reached(limit) else "inactive"},
            **_zone(limit.time_zone),
        }


class SpendAlerts(Administration):
    """`network` says where webhooks may be."""

    network: Callable[[], WebhookNetwork]

    @override
    async def list_organization_spend_alerts(
        self, call: Call, query: models.ListOrganizationSpendAlertsQuery
    ) -> models.OrganizationSpendAlertListResource:
        await self.fresh()
        found = self._page(ORGANIZATION, query.limit, query.order, query.after, query.before)
        return models.OrganizationSpendAlertListResource.model_validate(_listed(found, "organization.spend_alert"))

    @override
    async def create_organization_spend_alert(
        self, call: Call, body: models.CreateSpendAlertBody
    ) -> models.OrganizationSpendAlert:
        async with self.change(call) as change:
            alert = self._put_alert(change, ORGANIZATION, body)
        return models.OrganizationSpendAlert.model_validate(_alert(alert, "organization.spend_alert", secret=True))

    @override
    async def retrieve_organization_spend_alert(self, call: Call, alert_id: str) -> models.OrganizationSpendAlert:
        await self.fresh()
        alert = self._find_alert(ORGANIZATION, alert_id)
        return models.OrganizationSpendAlert.model_validate(_alert(alert, "organization.spend_alert"))

    @override
    async def update_organization_spend_alert(
        self, call: Call, alert_id: str, body: models.CreateSpendAlertBody
    ) -> models.OrganizationSpendAlert:
        async with self.change(call) as change:
            former = self._find_alert(ORGANIZATION, alert_id)
            alert = self._put_alert(change, ORGANIZATION, body, former)
        made = _alert(alert, "organization.spend_alert", secret=alert.webhook_secret != former.webhook_secret)
        return models.OrganizationSpendAlert.model_validate(made)

    @override
    async def delete_organization_spend_alert(
        self, call: Call, alert_id: str
    ) -> models.OrganizationSpendAlertDeletedResource:
        async with self.change(call) as change:
            self._delete_alert(change, ORGANIZATION, alert_id)
        return models.OrganizationSpendAlertDeletedResource(
            id=alert_id, object="organization.spend_alert.deleted", deleted=True
        )

    @override
    async def list_project_spend_alerts(
        self, call: Call, project_id: str, query: models.ListProjectSpendAlertsQuery
    ) -> models.ProjectSpendAlertListResource:
        await self.fresh()
        found = self._page(self.project(project_id).id, query.limit, query.order, query.after, query.before)
        return models.ProjectSpendAlertListResource.model_validate(_listed(found, "project.spend_alert"))

    @override
    async def create_project_spend_alert(
        self, call: Call, project_id: str, body: models.CreateSpendAlertBody
    ) -> models.ProjectSpendAlert:
        async with self.change(call) as change:
            alert = self._put_alert(change, self.active_project(project_id).id, body)
        return models.ProjectSpendAlert.model_validate(_alert(alert, "project.spend_alert", secret=True))

    @override
    async def retrieve_project_spend_alert(
        self, call: Call, project_id: str, alert_id: str
    ) -> models.ProjectSpendAlert:
        await self.fresh()
        alert = self._find_alert(self.project(project_id).id, alert_id)
        return models.ProjectSpendAlert.model_validate(_alert(alert, "project.spend_alert"))

    @override
    async def update_project_spend_alert(
        self, call: Call, project_id: str, alert_id: str, body: models.CreateSpendAlertBody
    ) -> models.ProjectSpendAlert:
        async with self.change(call) as change:
            project = self.active_project(project_id)
            former = self._find_alert(project.id, alert_id)
            alert = self._put_alert(change, project.id, body, former)
        made = _alert(alert, "project.spend_alert", secret=alert.webhook_secret != former.webhook_secret)
        return models.ProjectSpendAlert.model_validate(made)

    @override
    async def delete_project_spend_alert(
        self, call: Call, project_id: str, alert_id: str
    ) -> models.ProjectSpendAlertDeletedResource:
        async with self.change(call) as change:
            self._delete_alert(change, self.active_project(project_id).id, alert_id)
        return models.ProjectSpendAlertDeletedResource(id=alert_id, object="project.spend_alert.deleted", deleted=True)

    def _page(self, entity: str, limit: int, order: Order, after: str | None, before: str | None) -> Page[SpendAlert]:
        every = by_time(
            (alert for alert in self.directory.all(SpendAlert) if alert.entity == entity),
            lambda alert: alert.created_at,
            order,
        )
        return page(every, lambda alert: alert.id, limit, after, before)

    def _find_alert(self, entity: str, alert_id: str) -> SpendAlert:
        alert = self.directory.get(SpendAlert, alert_id)
        if alert is None or alert.entity != entity:
            where = "" if entity == ORGANIZATION else " in this project"
            raise NotFound(f"No spend alert found with id '{alert_id}'{where}.")
        return alert

    def _put_alert(
        self, change: Change, entity: str, body: models.CreateSpendAlertBody, former: SpendAlert | None = None
    ) -> SpendAlert:
        alert = SpendAlert(
            id=former.id if former else new_id("alert"),
            entity=entity,
            threshold_amount=body.threshold_amount,
            created_at=former.created_at if former else change.now,
            interval=body.interval,
            time_zone=checked_zone(body.time_zone),
            currency=body.currency,
        )
        channel = body.notification_channel
        if isinstance(channel, models.SpendAlertWebhookChannel):
            kept = former.webhook_secret if former else None
            secret = channel.secret or kept or _new_secret()
            try:
                signing_key(secret)
            except ValueError as error:
                raise InvalidRequest(
                    f"The secret cannot sign: {error}.", param="notification_channel.secret"
                ) from error
            _check_address(channel.url, self.network())
            alert = replace(alert, webhook_url=channel.url, webhook_secret=secret)
        else:
            alert = replace(alert, recipients=tuple(channel.recipients), subject_prefix=channel.subject_prefix)
        change.put(alert)
        audit_change(change, entity, "spend_alert", former, alert)
        return alert

    def _delete_alert(self, change: Change, entity: str, alert_id: str) -> None:
        former = self._find_alert(entity, alert_id)
        change.delete(SpendAlert, alert_id)
        audit_change(change, entity, "spend_alert", former, None)


def _check_address(url: str, network: WebhookNetwork) -> None:
    try:
        reason = None if network.permits_literal(url) else "it has an address that WEBHOOK_ADDRESSES does not allow"
    except ValueError as error:
        reason = f"it cannot be called: {error}"
    if reason is not None:
        param = "notification_channel.url"
        raise InvalidRequest(f"Invalid value for '{param}': {reason}.", param=param, code="invalid_value")


def _new_secret() -> str:
    """A secret in the form of Standard Webhooks: https://www.standardwebhooks.com, section "Signature scheme"."""
    return f"{SECRET_PREFIX}{b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def _alert(alert: SpendAlert, kind: str, *, secret: bool = False) -> dict[str, Any]:
    """The alert in the contract's form; with its secret only when just created."""
    channel: dict[str, Any]
    if alert.webhook_url is not None:
        channel = {"type": "webhook", "url": alert.webhook_url}
        if secret:
            channel["secret"] = alert.webhook_secret
    else:
        channel = {"type": "email", "recipients": list(alert.recipients), "subject_prefix": alert.subject_prefix}
    return {
        "id": alert.id,
        "object": kind,
        "threshold_amount": alert.threshold_amount,
        "currency": alert.currency,
        "interval": alert.interval,
        "notification_channel": channel,
        **_zone(alert.time_zone),
    }


def _listed(found: Page[SpendAlert], kind: str) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [_alert(alert, kind) for alert in found.items],
        "first_id": found.items[0].id if found.items else None,
        "last_id": found.items[-1].id if found.items else None,
        "has_more": found.has_more,
    }


def _zone(name: str) -> dict[str, str]:
    return {"time_zone": name} if name != "UTC" else {}
