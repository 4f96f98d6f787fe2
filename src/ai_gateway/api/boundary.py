"""What contracts have in common, for each wire: who may enter, how much may be sent, how errors look."""

from collections.abc import Mapping
from dataclasses import replace
from typing import override

from starlette.types import Scope

from ai_gateway.api.access import Access
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.render import ollama_envelope, openai_envelope
from ai_gateway.contract.route import Boundary, Security
from ai_gateway.errors import GatewayError


class OpenAIBoundary(Boundary):
    """Goes before the generated `Handlers` in a class's bases."""

    def __init__(self, access: Access, body_limits: BodyLimits) -> None:
        self.access = access
        self.body_limits = body_limits

    @override
    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> bool:
        return self.access.authorize(scope, headers, security)

    @override
    def render(self, error: GatewayError) -> bytes:
        return openai_envelope(error)


class OllamaBoundary(OpenAIBoundary):
    """The same door with errors in Ollama's words; bodies may call themselves what they like, as they may there."""

    def __init__(self, access: Access, body_limits: BodyLimits) -> None:
        super().__init__(access, replace(body_limits, any_type=True))

    @override
    def render(self, error: GatewayError) -> bytes:
        return ollama_envelope(error)
