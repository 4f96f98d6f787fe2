"""Administrators' keys: listed, made, deleted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import override

from ai_gateway.accounts.directory import new_id
from ai_gateway.accounts.entities import DEFAULT_PROJECT, ApiKey
from ai_gateway.accounts.key_format import digest, new_key, redacted
from ai_gateway.api.admin.base import Administration, is_configured, shown
from ai_gateway.api.admin.pages import by_time, page
from ai_gateway.contract.call import Call
from ai_gateway.errors import NotFound
from ai_gateway.redaction import remember
from gateway_contract.openai_admin import models


class AdminKeys(Administration):
    @override
    async def admin_api_keys_list(self, call: Call, query: models.AdminApiKeysListQuery) -> models.ApiKeyList:
        directory = await self.fresh()
        every = by_time(
            (key for key in (*directory.all(ApiKey), *self._configured()) if key.project_id is None),
            lambda key: key.created_at,
            query.order,
        )
        found = page(every, lambda key: key.id, query.limit, query.after, is_shown=lambda key: key.deleted_at is None)
        return models.ApiKeyList(
            object="list",
            data=[self._admin_key(key) for key in found.items],
            has_more=found.has_more,
            first_id=found.items[0].id if found.items else None,
            last_id=found.items[-1].id if found.items else None,
        )

    @override
    async def admin_api_keys_create(
        self, call: Call, body: models.AdminApiKeysCreateRequest
    ) -> models.AdminApiKeyCreateResponse:
        value = new_key("administrator")
        remember(value, beginnings=True)
        async with self.change(call) as change:
            key = ApiKey(
                id=new_id("key"),
                digest=digest(value),
                redacted=redacted(value),
                name=body.name,
                created_at=change.now,
                expires_at=change.now + body.expires_in_seconds if body.expires_in_seconds else None,
            )
            change.put(key)
            change.audit("tenant.admin_api_key.created", id=key.id, data={"name": key.name}, after=shown(key))
        return models.AdminApiKeyCreateResponse.model_validate({**self._admin_key(key).model_dump(), "value": value})

    @override
    async def admin_api_keys_get(self, call: Call, key_id: str) -> models.AdminApiKey:
        await self.fresh()
        configured = next((key for key in self._configured() if key.id == key_id), None)
        return self._admin_key(configured or self._find_admin_key(key_id))

    @override
    async def admin_api_keys_delete(self, call: Call, key_id: str) -> models.AdminApiKeysDeleteResponse:
        async with self.change(call) as change:
            key = self._find_admin_key(key_id)
            change.put(replace(key, deleted_at=change.now))
            change.audit("tenant.admin_api_key.deleted", id=key.id, before=shown(key))
        return models.AdminApiKeysDeleteResponse(id=key_id, object="organization.admin_api_key.deleted", deleted=True)

    def _configured(self) -> Iterator[ApiKey]:
        """The keys of the configuration, whose time of creation is unknown."""
        since = self.project(DEFAULT_PROJECT).created_at
        for key in self.access.keys.configured.values():
            if key.administers:
                yield ApiKey(id=key.id, digest=key.sha256, redacted=key.redacted, name=key.name, created_at=since)

    def _find_admin_key(self, key_id: str) -> ApiKey:
        """A key that can be changed. Raises NotFound, or InvalidRequest for one of the configuration."""
        if any(key.id == key_id for key in self._configured()):
            raise is_configured(self.access.keys.configured[key_id])
        key = self.directory.get(ApiKey, key_id)
        if key is None or key.project_id is not None or key.deleted_at is not None:
            raise NotFound(f"No admin API key found with id '{key_id}'.")
        return key

    def _admin_key(self, key: ApiKey) -> models.AdminApiKey:
        made = models.AdminApiKey(
            object="organization.admin_api_key",
            id=key.id,
            name=key.name,
            redacted_value=key.redacted,
            created_at=key.created_at,
            expires_at=key.expires_at,
            last_used_at=None,  # it calls no models; the audit log has its acts
            # There are no users: the key itself is the owner.
            owner=models.AdminApiKeyOwner(
                type="user",
                object="organization.user",
                id=key.id,
                name=key.name,
                created_at=key.created_at,
                role="owner",
            ),
        )
        if (configured := self.access.keys.configured.get(key.id)) is not None:
            made.configured_in = configured.setting
        return made
