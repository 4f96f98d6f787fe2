"""What conforming a reply takes to know about its provider."""

from typing import Literal, Protocol

from ai_gateway.errors import GatewayError

type Mode = Literal["repair", "enforce", "observe"]


class Source(Protocol):
    """The facts about the provider of a reply."""

    @property
    def name(self) -> str: ...
    @property
    def conformance(self) -> Mode: ...
    def error_in(self, value: object) -> GatewayError | None:
        """The error, if a JSON value sent as a reply or chunk is one."""
