"""The public face for packages that add a provider: import from here and from nowhere else in the gateway.

A row of data (`ProviderRow`, with `Quirks`) is enough for an upstream of OpenAI's wire. Another wire is a `Provider`,
named by the row as its `adapter` and made with the `Upstream` it is for; failures are raised from the tree below.
Requests and replies are the generated models of `gateway_contract.openai`. Changes of `__all__` are listed in the
changelog.
"""

from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.stream import DONE, Packet
from ai_gateway.errors import (
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    UnsupportedOperation,
    UnsupportedParameter,
    UnsupportedValue,
    UpstreamAuthError,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamStreamTruncated,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.openai.provider import OpenAICompatible
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.providers.upstream import ProviderRow, Timeouts, Upstream

__all__ = [
    "DONE",
    "SAME_WIRE",
    "Attempt",
    "Call",
    "GatewayError",
    "InvalidRequest",
    "ModelNotFound",
    "OpenAICompatible",
    "Packet",
    "Provider",
    "ProviderRow",
    "Quirks",
    "Timeouts",
    "UnsupportedOperation",
    "UnsupportedParameter",
    "UnsupportedValue",
    "Upstream",
    "UpstreamAuthError",
    "UpstreamError",
    "UpstreamInvalidResponse",
    "UpstreamOverloaded",
    "UpstreamRefused",
    "UpstreamStreamTruncated",
    "UpstreamTimeout",
    "UpstreamUnreachable",
]
