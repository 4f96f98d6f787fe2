"""What the handlers of every client wire have in common: who may enter, how much may be sent, how errors look."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, override

from starlette.types import Scope

from ai_gateway.api.access import Access
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Caller
from ai_gateway.contract.route import Boundary, Security
from ai_gateway.contract.wire import Wire
from ai_gateway.errors import Forbidden


class WireBoundary(Boundary):
    """Goes before the generated `Handlers` in a class's bases.

    `takes_administrators` says that administrators' keys may call its operations as well.
    """

    takes_administrators: ClassVar[bool] = False

    def __init__(self, wire: Wire, access: Access, body_limits: BodyLimits) -> None:
        self.wire = wire
        self.access = access
        self.body_limits = replace(body_limits, any_type=wire.any_content_type)

    @override
    async def learn(self, scope: Scope) -> bool:
        return await self.access.learn(scope)

    @override
    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> Caller:
        caller = self.access.authorize(scope, headers, security)
        if caller.administers and not self.takes_administrators:
            raise Forbidden("This is an administrator's key, which calls no models: use a key of a project.")
        return caller


def with_default_model(default: str | None, provider: str | None, value: object) -> object:
    """Where the model decides who answers, a request without one gets the default, if the operator has set one."""
    if default and provider is None and isinstance(value, dict) and value.get("model") in (None, ""):
        return {**value, "model": default}
    return value
