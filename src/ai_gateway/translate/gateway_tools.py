"""Tools that the gateway runs, as requests on other wires than OpenAI's switch them on.

Which there are is not for a translation to know: it is told by what it asks (`Runs`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, Protocol

from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError

from ai_gateway.contract.validation_errors import explain
from ai_gateway.errors import InvalidRequest, ToolNotAvailable
from gateway_contract.openai import models

type Hosted = (
    models.GatewayWebSearchTool | models.GatewayCodeExecutionTool | models.GatewayMemoryTool | models.GatewayMcpTool
)

SEARCH: Final = "gateway:web_search"
CODE: Final = "gateway:code_execution"
MEMORY: Final = "gateway:memory"
MCP: Final = "gateway:mcp"
TYPES: Final = frozenset({SEARCH, CODE, MEMORY, MCP})

SEARCH_FUNCTION: Final = "gateway_web_search"
FETCH_FUNCTION: Final = "gateway_web_fetch"
CODE_FUNCTION: Final = "gateway_code_execution"
"""What models call the tools that other wires have a name for."""

_hosted: TypeAdapter[Hosted] = TypeAdapter(Annotated[Hosted, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A tool of a server of the Model Context Protocol, as its server names it."""

    server: str
    name: str
    description: str = ""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class McpName:
    """A tool of such a server, by the names that the caller knows."""

    server: str
    tool: str


class Runs(Protocol):
    """What the gateway runs for one caller. Tools are named without a prefix; one of them is `web_fetch`."""

    def has(self, tool: str) -> bool:
        """Whether it runs this one."""
        ...

    def require(self, tool: str, place: int) -> None:
        """Raise ToolNotAvailable or ToolNotAllowed where it does not; `place` is the tool's in the request."""
        ...

    def server(self, label: str, url: str | None) -> str | None:
        """The listed server of the Model Context Protocol at this address or, without one, of this name."""
        ...

    @property
    def server_tools(self) -> Mapping[str, ServerTool]:
        """What the servers have that were asked for, by the name of their function."""
        ...


class NoTools:
    """Where the gateway runs none."""

    server_tools: ClassVar[Mapping[str, ServerTool]] = {}

    def has(self, tool: str) -> bool:  # noqa: ARG002 - there is none
        return False

    def require(self, tool: str, place: int) -> None:
        raise ToolNotAvailable(f"The tool 'gateway:{tool}' is not there: leave it out.", param=f"tools[{place}].type")

    def server(self, label: str, url: str | None) -> str | None:  # noqa: ARG002 - there is none
        return None


NO_TOOLS: Final = NoTools()


def typed(tool: BaseModel, place: int) -> Hosted:
    """A tool whose type is the gateway's own, with its options. Raises InvalidRequest for one that is wrong."""
    return made(tool.model_dump(exclude_unset=True), place)


def made(fields: Mapping[str, object], place: int, words: Mapping[str, str] = {}) -> Hosted:
    """The same of its fields. `words` are the caller's names of those that it calls otherwise."""
    try:
        return _hosted.validate_python(fields, strict=True)
    except ValidationError as error:
        found = explain(error, fields)
        path = found.param or "type"
        name = path.partition(".")[0].partition("[")[0]
        param = f"tools[{place}].{words.get(name, name)}{path[len(name) :]}"
        raise InvalidRequest(found.message.replace(f"'{path}'", f"'{param}'"), param=param, code=found.code) from None


def is_gateways(tool: object) -> bool:
    """Whether a tool of a request is one by its type."""
    return getattr(tool, "type", None) in TYPES


def has_own(tools: Sequence[object] | None) -> bool:
    """Whether one of them is, which no upstream would understand."""
    return any(is_gateways(tool) for tool in tools or ())
