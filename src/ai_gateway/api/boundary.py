"""Common parts of the handlers of every client wire: authorisation, body limits, and the error format."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, override

from starlette.types import Scope

from ai_gateway.api.access import Access
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Caller
from ai_gateway.contract.route import Boundary, Security
from ai_gateway.contract.wire import Wire
from ai_gateway.errors import Forbidden

if TYPE_CHECKING:  # the administration of the command line needs no gateway
    from ai_gateway.gateway import Gateway


class WireBoundary(Boundary):
    """Must precede the generated `Handlers` in a class's bases.

    `takes_administrators` says that administrators' keys may call its operations as well.
    """

    takes_administrators: ClassVar[bool] = False

    def __init__(self, wire: Wire, access: Access, body_limits: BodyLimits) -> None:
        self.wire = wire
        self.access = access
        self.body_limits = replace(body_limits, any_type=wire.any_content_type)

    @override
    async def refresh(self, scope: Scope) -> bool:
        return await self.access.refresh(scope)

    @override
    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> Caller:
        caller = self.access.authorize(scope, headers, security)
        if caller.administers and not self.takes_administrators:
            raise Forbidden("This is an administrator's key, which calls no models: use a key of a project.")
        return caller


class ModelBoundary(WireBoundary):
    """A wire whose requests may leave the model out."""

    def __init__(self, wire: Wire, access: Access, body_limits: BodyLimits, gateway: "Gateway") -> None:
        super().__init__(wire, access, body_limits)
        self.gateway = gateway

    @override
    def complete(self, provider: str | None, value: object) -> object:
        """The request with DEFAULT_MODEL, if it is routed by model and has none."""
        default = self.gateway.routing.rules.default_model
        if default and provider is None and isinstance(value, dict) and value.get("model") in (None, ""):
            return {**value, "model": default}
        return value
