"""An MCP server as listed by the operator."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class McpServer:
    """`tools` are those of its tools that may be used, None for all; `projects` are names or ids, None for all.

    `token` is sent as a bearer. `size` bounds each of its replies, in bytes.
    """

    name: str
    url: str
    token: str | None = field(default=None, repr=False)
    tools: AbstractSet[str] | None = None
    projects: AbstractSet[str] | None = None
    seconds: float = 30.0
    size: int = 2**20


class McpFailure(Exception):
    """A request to an MCP server failed. The message may be shown to a model."""
