"""What the handlers of every client wire have in common: who may enter, how much may be sent, how errors look."""

from collections.abc import Mapping
from dataclasses import replace
from typing import override

from starlette.types import Scope

from ai_gateway.api.access import Access
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Caller
from ai_gateway.contract.route import Boundary, Security
from ai_gateway.contract.wire import Wire


class WireBoundary(Boundary):
    """Goes before the generated `Handlers` in a class's bases."""

    def __init__(self, wire: Wire, access: Access, body_limits: BodyLimits) -> None:
        self.wire = wire
        self.access = access
        self.body_limits = replace(body_limits, any_type=wire.any_content_type)

    @override
    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> Caller:
        return self.access.authorize(scope, headers, security)
