"""The registry of gateway-run tools, and the tools that a request enables."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydantic import JsonValue

from ai_gateway.contract.call import Caller
from ai_gateway.errors import GatewayError, ToolNotAllowed, ToolNotAvailable, UnsupportedValue
from ai_gateway.tools.offer import TYPES, Offer, check_names, is_hosted, options_of
from ai_gateway.tools.run import Limits
from ai_gateway.tools.tool import Function, Tool
from gateway_contract.openai import models

type Body = models.CreateChatCompletionRequest

NAMES: Final = ("web_search", "code_execution", "memory", "mcp")
WEB_SEARCH: Final = "web_search"
MCP: Final = "mcp"
# Number of search results by OpenAI's context sizes.
_CONTEXT: Mapping[str | None, int] = {"low": 3, "medium": 5, "high": 10}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """A tool that a caller may enable. `provider` is the only one it is for, `problem` why it cannot be used now."""

    name: str
    price: int
    functions: tuple[Function, ...] = ()
    provider: str | None = None
    problem: str | None = None


@dataclass(slots=True)
class Tools:
    """Every tool by its name.

    `simulated` are simulated tools, used for the built-in provider in place of unconfigured ones. `prices` are for a
    call, in 1e-12 USD. `allows` says whether a caller's project may use a tool.
    """

    tools: dict[str, Tool] = field(default_factory=dict)
    simulated: dict[str, Tool] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    prices: Mapping[str, int] = field(default_factory=dict)
    allows: Callable[[Caller, str], bool] = lambda _caller, _name: True

    def find(self, caller: Caller, name: str, place: int, *, built_in: bool) -> Tool:
        """The caller's tool of this name. Raises ToolNotAvailable or ToolNotAllowed."""
        tool = self.tools.get(name) or (self.simulated.get(name) if built_in else None)
        param = f"tools[{place}].type"
        if tool is None:
            known = ", ".join(f"{TYPES}{each}" for each in NAMES if each in self.tools) or "none"
            raise ToolNotAvailable(
                f"The tool '{TYPES}{name}' is not switched on here: leave it out. There is: {known}.", param=param
            )
        if name in self.tools and not self.allows(caller, name):
            raise ToolNotAllowed(
                f"The tool '{TYPES}{name}' is switched off for this project: leave it out.", param=param
            )
        return tool

    async def offer(self, caller: Caller, body: Body, *, built_in: bool) -> Offer:
        """The tools that the request enables.

        Raises ToolNotAvailable, ToolNotAllowed, UnsupportedValue for several choices, or InvalidRequest for wrong
        options and repeated names.
        """
        offer = Offer(allows=lambda name: name not in self.tools or self.allows(caller, name))
        for place, tool in enumerate(body.tools or ()):
            if not is_hosted(tool):
                continue
            name = tool.type.removeprefix(TYPES)
            options = options_of(tool)  # type: ignore[arg-type] # it is one of ours
            found = self.find(caller, name, place, built_in=built_in)
            made = await self._functions(found, caller, options)
            offer.add(place, name, options, self.prices.get(name, 0), made)
        check_names(body, offer)
        if offer.functions and (body.n or 1) > 1:
            raise UnsupportedValue("With tools that the gateway runs there is one choice: leave 'n' out.", param="n")
        return offer

    async def _functions(self, tool: Tool, caller: Caller, options: Mapping[str, JsonValue]) -> tuple[Function, ...]:
        try:
            async with asyncio.timeout(self.limits.seconds):
                return tuple(await tool.functions(caller, options))
        except TimeoutError:
            raise ToolNotAvailable(
                f"The tool '{TYPES}{tool.name}' does not answer: leave it out, or try later."
            ) from None

    async def listed(self, caller: Caller) -> list[Listed]:
        """The tools that this caller may enable."""
        found = []
        for name in NAMES:
            tool = self.tools.get(name) or self.simulated.get(name)
            if tool is None or (name in self.tools and not self.allows(caller, name)):
                continue
            provider = None if name in self.tools else "custom"
            price = self.prices.get(name, 0)
            try:
                functions = await self._functions(tool, caller, {})
                found.append(Listed(name, price, functions, provider))
            except GatewayError as error:
                found.append(Listed(name, price, (), provider, error.message))
        return found

    async def close(self) -> None:
        """Close every tool, even if closing another one fails."""
        for tool in (*self.tools.values(), *self.simulated.values()):
            try:
                await tool.close()
            except Exception as error:  # nothing handles it, so it is logged
                _log.warning("tool did not close", tool=tool.name, exc_info=error)


def claimed_search(body: Body) -> Body:
    """The body with the gateway's web search in place of `web_search_options`, for providers without their own."""
    wanted = body.web_search_options
    if wanted is None or (body.n or 1) > 1:
        return body
    size = wanted.search_context_size
    tool = models.GatewayWebSearchTool(type="gateway:web_search", max_results=_CONTEXT.get(size, 5))
    if wanted.user_location is not None:
        location = wanted.user_location.approximate
        names = ("city", "region", "country", "timezone")
        tool.user_location = models.GatewayUserLocation(
            **{name: (getattr(location, name) or "")[:255] or None for name in names}
        )
    changed = body.model_copy(update={"tools": [*(body.tools or ()), tool], "web_search_options": None})
    changed.model_fields_set.discard("web_search_options")
    return changed
