"""The tool `memory`: a model saves texts for its caller, and searches them in later conversations."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import override

import orjson
import structlog
from pydantic import JsonValue

from ai_gateway.accounts.memories import Memories, Memory, Owner, QuotaReached
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.contract.call import Caller
from ai_gateway.errors import InvalidRequest, UnsupportedParameter, UnsupportedValue
from ai_gateway.tools.tool import Function, Result, Tool, Use

_OPTIONS = ("read_only", "subject")
_MAX_SUBJECT_LENGTH = 256
_MAX_FOUND = 50
_USUAL = 10
_log = structlog.get_logger(__name__)

type _Action = Callable[[Memories, Owner, Mapping[str, JsonValue]], Awaitable[object]]


class MemoryTool(Tool):
    """`memories` exist while there is a store; `may_keep` says whether a project's data may be stored."""

    name = "memory"

    def __init__(self, memories: Callable[[], Memories | None], may_keep: Callable[[str], bool]) -> None:
        self._memories = memories
        self._may_keep = may_keep

    @override
    async def functions(self, caller: Caller, options: Mapping[str, JsonValue]) -> Sequence[Function]:
        _subject(options)
        read_only = _read_only(options)
        if self._memories() is None:
            raise InvalidRequest("gateway:memory needs a store, and this gateway has none: STORE_URL is off.")
        if caller.key_id is None and not caller.trusted:
            raise InvalidRequest("gateway:memory is for callers with a key: those without one cannot be told apart.")
        if not self._may_keep(caller.project_id):
            raise InvalidRequest("gateway:memory is off for this project: its data retention lets nothing be kept.")
        reading = (
            self._function("memory_search", _SEARCH, {"query": _QUERY, "limit": _LIMIT}, "query", run=_search),
            self._function("memory_list", _LIST, {"limit": _LIMIT}, run=_newest),
        )
        if read_only:
            return reading
        return (
            self._function("memory_save", _SAVE, {"content": _CONTENT, "id": _REPLACED}, "content", run=_save),
            *reading,
            self._function("memory_delete", _DELETE, {"id": _ID}, "id", run=_delete),
        )

    def _function(
        self, name: str, description: str, properties: Mapping[str, JsonValue], *required: str, run: _Action
    ) -> Function:
        parameters: dict[str, JsonValue] = {
            "type": "object",
            "properties": dict(properties),
            "required": list(required),
            "additionalProperties": False,
        }

        async def called(use: Use) -> Result:
            return await self._run(use, run)

        return Function(name, description, parameters, called)

    async def _run(self, use: Use, action: _Action) -> Result:
        memories = self._memories()
        if memories is None or not self._may_keep(use.caller.project_id):
            return Result("Memories cannot be used now: go on without them.", failed=True)
        owner = Owner(use.caller.key_id or "", use.caller.project_id, _subject(use.options))
        try:
            return Result(orjson.dumps(await action(memories, owner, use.arguments)).decode())
        except (QuotaReached, _WrongArgument) as error:
            return Result(str(error), failed=True)
        except StoreError as error:
            _log.error("memories cannot be used", error=str(error))
            return Result("Memories cannot be used now: go on without them.", failed=True)

    @override
    async def close(self) -> None:
        """Nothing to do: the store is shared."""


class _WrongArgument(ValueError):
    """A wrong argument; the message is for the model."""


async def _save(memories: Memories, owner: Owner, arguments: Mapping[str, JsonValue]) -> object:
    replaced = _text(arguments, "id") if arguments.get("id") is not None else None
    saved = await memories.save(owner, _text(arguments, "content"), replaced)
    if saved is None:
        raise _WrongArgument(f"There is no memory with the id {replaced}: leave `id` out to save a new one.")
    return {"saved": saved.id}


async def _search(memories: Memories, owner: Owner, arguments: Mapping[str, JsonValue]) -> object:
    found = await memories.search(owner, _text(arguments, "query"), _limit(arguments))
    return {"memories": [_shown(memory) for memory in found]}


async def _newest(memories: Memories, owner: Owner, arguments: Mapping[str, JsonValue]) -> object:
    return {"memories": [_shown(memory) for memory in await memories.newest(owner, _limit(arguments))]}


async def _delete(memories: Memories, owner: Owner, arguments: Mapping[str, JsonValue]) -> object:
    identifier = _text(arguments, "id")
    if not await memories.delete(owner, identifier):
        raise _WrongArgument(f"There is no memory with the id {identifier}.")
    return {"deleted": identifier}


def _shown(memory: Memory) -> Mapping[str, str]:
    saved = datetime.fromtimestamp(memory.updated_at / 1000, UTC).isoformat(timespec="seconds")
    return {"id": memory.id, "saved_at": saved, "content": memory.content}


def _text(arguments: Mapping[str, JsonValue], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _WrongArgument(f"The argument `{name}` is missing: it has to be a text.")
    # Lone surrogates, which JSON allows and stores refuse.
    return value.encode("utf-8", "replace").decode()


def _limit(arguments: Mapping[str, JsonValue]) -> int:
    limit = arguments.get("limit")
    if limit is None:
        return _USUAL
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise _WrongArgument("The argument `limit` has to be a whole number from 1 on.")
    return min(limit, _MAX_FOUND)


def _subject(options: Mapping[str, JsonValue]) -> str:
    """The end user that the request is for; empty for none in particular. Raises InvalidRequest."""
    for name in options:
        if name not in _OPTIONS:
            raise UnsupportedParameter(f"gateway:memory has no option {name}. It has: {', '.join(_OPTIONS)}.")
    subject = options.get("subject")
    if subject is None:
        return ""
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_LENGTH or not subject.isprintable():
        raise UnsupportedValue(
            f"subject of gateway:memory has to be a text of 1 to {_MAX_SUBJECT_LENGTH} printable characters."
        )
    return subject


def _read_only(options: Mapping[str, JsonValue]) -> bool:
    read_only = options.get("read_only")
    if read_only is not None and not isinstance(read_only, bool):
        raise UnsupportedValue("read_only of gateway:memory has to be true or false.")
    return bool(read_only)


_SAVE = (
    "Save a fact for later conversations with this user, such as a name, a preference or a decision. "
    "One short text for each fact; with `id`, it takes the place of what was saved under it."
)
_SEARCH = "Find what was saved in earlier conversations, by words that it contains, the most relevant first."
_LIST = "List what was saved last in earlier conversations."
_DELETE = "Delete what was saved, by its id."
_CONTENT: JsonValue = {"type": "string", "description": "What to save"}
_REPLACED: JsonValue = {"type": "string", "description": "The id of the memory to replace"}
_ID: JsonValue = {"type": "string", "description": "The id of the memory"}
_QUERY: JsonValue = {"type": "string", "description": "Words to look for"}
_LIMIT: JsonValue = {"type": "integer", "minimum": 1, "maximum": _MAX_FOUND, "description": "At most so many"}
