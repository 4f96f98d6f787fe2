"""Single tables of gateway.toml: prices of models and tools, servers of the Model Context Protocol."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ai_gateway.config.fields import HeaderKey, ListAddress, Seconds, ToolPrice, UsdPrice


class PriceRates(BaseModel):
    """Prices in USD of a million tokens of each class, and of a thousand searches.

    A class without a price costs as much as the class that it is a part of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: UsdPrice
    output: UsdPrice
    cache_read: UsdPrice | None = None
    cache_write: UsdPrice | None = None
    cache_write_1h: UsdPrice | None = None
    input_audio: UsdPrice | None = None
    input_image: UsdPrice | None = None
    reasoning: UsdPrice | None = None
    output_audio: UsdPrice | None = None
    output_image: UsdPrice | None = None
    searches: UsdPrice | None = None

    def prices(self) -> dict[str, Decimal]:
        """The given prices, by class, for a million."""
        named = ((name, getattr(self, name)) for name in PriceRates.model_fields)
        prices = {name: price for name, price in named if price is not None}
        if self.searches is not None:
            prices["searches"] = self.searches * 1_000
        return prices


class LongInput(PriceRates):
    """The prices for requests with more input tokens than a threshold."""

    tokens: Annotated[int, Field(gt=0)]


class PriceSettings(PriceRates):
    """One `[prices."PROVIDER/MODEL"]` table of gateway.toml, or `[prices."gateway:TOOL"]`, which has `call` alone.

    `call` is the price in USD of one call of a gateway-run tool.
    """

    call: ToolPrice | None = None
    above: list[LongInput] = []
    service_tiers: dict[str, PriceRates] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_a_tool(cls, value: object) -> object:
        """Check that a tool has no token prices."""
        return {"input": 0, "output": 0, **value} if isinstance(value, dict) and value.keys() == {"call"} else value


class McpSettings(BaseModel):
    """One `[mcp.NAME]` table of gateway.toml: an MCP server, and the projects and tools that are allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: ListAddress
    api_key: HeaderKey | None = None
    api_key_env: str | None = None
    api_key_file: Path | None = None
    allowed_tools: Annotated[list[str], Field(min_length=1)] | None = None
    projects: Annotated[list[str], Field(min_length=1)] | None = None
    timeout_s: Seconds = 30.0
    reply_max_size: Annotated[int, Field(ge=1024)] = 2**20
