"""The list of models, kept for a moment: clients on Ollama's wire keep asking for it and for each of its models."""

import asyncio
import time
from dataclasses import replace

from ai_gateway.contract.call import Call
from ai_gateway.gateway import Gateway
from gateway_contract.openai.models import Model

_KEPT_S = 15.0
_MISSING = "x-gateway-models-missing"


class Catalogue:
    """What the gateway's providers list, asked for again when it is older than a few seconds."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._models: dict[str, Model] = {}
        self._headers: dict[str, str] = {}
        self._until = 0.0
        self._asking = asyncio.Lock()

    def known(self) -> dict[str, Model]:
        """What was listed last, however long ago, by id; nothing is asked for."""
        return self._models

    async def listed(self, call: Call) -> list[Model]:
        """Every model. The reply names the providers that could not say."""
        if time.monotonic() >= self._until:
            async with self._asking:
                if time.monotonic() >= self._until:  # nobody else asked while we waited
                    await self._ask(call)
        call.reply_headers.update(self._headers)
        return list(self._models.values())

    async def _ask(self, call: Call) -> None:
        own = replace(call, reply_headers={}, repairs=set())
        found = await self._gateway.list_models(own)
        self._models = {model.id: model for model in found.data}
        self._headers = {name: value for name, value in own.reply_headers.items() if name == _MISSING}
        self._until = time.monotonic() + _KEPT_S
