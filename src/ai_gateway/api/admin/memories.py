"""Memories that models have saved for a key, a project or an end user: listed and deleted."""

from typing import override

from ai_gateway.accounts.entities import ORGANIZATION
from ai_gateway.accounts.memories import Memory, Subject, delete_memories, page_of_memories
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.api.admin.base import Administration, store_unavailable
from ai_gateway.contract.call import Call
from ai_gateway.errors import MissingParameter
from gateway_contract.openai_admin import models


class KeptMemories(Administration):
    @override
    async def list_memories(self, call: Call, query: models.ListMemoriesQuery) -> models.MemoryList:
        subject = Subject(query.api_key_id or "", query.project_id or "", query.subject or "")
        try:
            found, more = await page_of_memories(self.directory.store, subject, query.after or "", query.limit)
        except StoreError as error:
            raise store_unavailable(error) from error
        data = [_shown(memory) for memory in found]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return models.MemoryList(object="list", data=data, has_more=more, first_id=first, last_id=last)

    @override
    async def delete_memories(self, call: Call, query: models.DeleteMemoriesQuery) -> models.MemoriesDeleted:
        named = {"api_key_id": query.api_key_id, "project_id": query.project_id, "subject": query.subject}
        whose = {name: value for name, value in named.items() if value}
        if not whose:
            raise MissingParameter(f"Say whose memories are to be deleted: give one of {', '.join(named)}.")
        async with self.change(call) as change:
            subject = Subject(query.api_key_id or "", query.project_id or "", query.subject or "")
            deleted = await delete_memories(change.session, subject)
            change.audit(
                "project.updated" if query.project_id else "organization.updated",
                query.project_id,
                id=query.project_id or ORGANIZATION,
                changes_requested={"memories": {"deleted": deleted, **whose}},
            )
        return models.MemoriesDeleted(object="gateway.memories.deleted", deleted=deleted)


def _shown(memory: Memory) -> models.Memory:
    return models.Memory(
        object="gateway.memory",
        id=memory.id,
        project_id=memory.project_id,
        api_key_id=memory.key_id or None,
        subject=memory.user_id or None,
        created_at=memory.created_at // 1000,
        updated_at=memory.updated_at // 1000,
        content=memory.content,
    )
