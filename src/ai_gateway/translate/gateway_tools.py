"""Gateway-run tools in requests on other wires than OpenAI's.

Translations do not know the available tools; they query `Runs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, Protocol, cast

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
"""Function names of the tools that other wires have names for."""

OWN_SERVER: Final = "gateway"
"""The MCP server name of the gateway's own tools."""

_hosted: TypeAdapter[Hosted] = TypeAdapter(Annotated[Hosted, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A tool of an MCP server, by the server's names."""

    server: str
    name: str
    description: str = ""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class McpName:
    """A tool of an MCP server, by the caller's names."""

    server: str
    tool: str


def mcp_name(names: Mapping[str, McpName], function: str) -> McpName:
    """The MCP tool of a function, by `names` or as one of the gateway's own."""
    return names.get(function) or McpName(OWN_SERVER, function.removeprefix("gateway_"))


def called_function(call: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The function of a call with its arguments."""
    return cast("dict[str, JsonValue]", call.get("function") or {})


class Runs(Protocol):
    """The gateway-run tools of one caller. Names have no prefix; `web_fetch` is a separate tool here."""

    def has(self, tool: str) -> bool:
        """Whether this tool is available."""
        ...

    def require(self, tool: str, place: int) -> None:
        """Raise ToolNotAvailable or ToolNotAllowed if it is not; `place` is the tool's path in the request."""
        ...

    def server(self, label: str, url: str | None) -> str | None:
        """The listed MCP server at this URL or, without one, of this name."""
        ...

    @property
    def server_tools(self) -> Mapping[str, ServerTool]:
        """The tools of the queried servers, by function name."""
        ...


class NoTools:
    """For callers without gateway-run tools."""

    server_tools: ClassVar[Mapping[str, ServerTool]] = {}

    def has(self, tool: str) -> bool:  # noqa: ARG002 - there is none
        return False

    def require(self, tool: str, place: int) -> None:
        raise ToolNotAvailable(f"The tool 'gateway:{tool}' is not there: leave it out.", param=f"tools[{place}].type")

    def server(self, label: str, url: str | None) -> str | None:  # noqa: ARG002 - there is none
        return None


NO_TOOLS: Final = NoTools()


def typed(tool: BaseModel, place: int) -> Hosted:
    """A tool with a type of the gateway's own, with its options. Raises InvalidRequest for wrong options."""
    return made(tool.model_dump(exclude_unset=True), place)


def made(fields: Mapping[str, object], place: int, words: Mapping[str, str] = {}) -> Hosted:
    """The same from its fields. `words` maps their names to the caller's."""
    try:
        return _hosted.validate_python(fields, strict=True)
    except ValidationError as error:
        found = explain(error, fields)
        path = found.param or "type"
        name = path.partition(".")[0].partition("[")[0]
        param = f"tools[{place}].{words.get(name, name)}{path[len(name) :]}"
        raise InvalidRequest(found.message.replace(f"'{path}'", f"'{param}'"), param=param, code=found.code) from None


def is_gateways(tool: object) -> bool:
    """Whether a request's tool has a type of the gateway's own."""
    return getattr(tool, "type", None) in TYPES


def has_own(tools: Sequence[object] | None) -> bool:
    """Whether one of them has, which upstreams do not know."""
    return any(is_gateways(tool) for tool in tools or ())
