"""Who administers: keys of administrators, which call no model, as callers' keys administer nothing."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from starlette.types import Scope

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import ApiKey
from ai_gateway.accounts.keys import KeyRing, presented
from ai_gateway.contract.call import Caller
from ai_gateway.errors import GatewayError, InvalidApiKey, MissingApiKey
from ai_gateway.redaction import remember

_HOW = "Send the header Authorization: Bearer <key>, with an administrator's key."


class MissingScope(GatewayError):
    """A key that calls models, where one that administers is needed."""

    status = 403
    type = "invalid_request_error"
    code = "missing_scope"


@dataclass(frozen=True, slots=True)
class Administrator(Caller):
    """A caller who administers. `address` is where the request came from, for the audit log."""

    address: str | None = None


class Administrators:
    """Administrators' keys: those of the configuration, and those that were made here.

    `callers` are the configuration's keys that call models: they are known, and may not.
    """

    def __init__(self, directory: Directory, configured: Iterable[str], callers: Callable[[], KeyRing]) -> None:
        configured = list(configured)
        remember(*configured, beginnings=True)
        self._directory = directory
        self._configured = {_digest(key): f"admin-env-{number}" for number, key in enumerate(configured, 1)}
        self._callers = callers

    def authenticate(self, scope: Scope, headers: Mapping[str, str]) -> Administrator:
        """Who administers. Raises MissingApiKey, InvalidApiKey, MissingScope, or InvalidRequest for two keys."""
        key = presented(headers)
        if key is None:
            raise MissingApiKey(f"No API key was sent. {_HOW}")
        digest = _digest(key)
        client = scope.get("client")
        address = str(client[0]) if client else None
        if name := self._configured.get(digest):
            return Administrator(name, name, trusted=True, address=address)
        known = self._directory.key(digest)
        if known is not None and self._works(known):
            if known.project_id is None:
                return Administrator(known.id, known.name, trusted=True, address=address)
        elif self._callers().find(key) is None:
            raise InvalidApiKey(f"Incorrect API key provided: it is none of this gateway's. {_HOW}")
        needed = "read" if scope["method"] in {"GET", "HEAD"} else "write"
        raise MissingScope(
            "You have insufficient permissions for this operation. "
            f"Missing scopes: api.management.{needed}. Use an administrator's key."
        )

    @staticmethod
    def _works(key: ApiKey) -> bool:
        return key.deleted_at is None and (key.expires_at is None or time.time() < key.expires_at)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
