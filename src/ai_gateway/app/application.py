"""The gateway as one value: the ASGI application, and its parts for servers, commands and tests."""

import gc
from dataclasses import dataclass

from fastapi import FastAPI

from ai_gateway.api.gateway.handlers import Lifecycle
from ai_gateway.api.responses.background import Background
from ai_gateway.app.meters import Meters
from ai_gateway.app.reload import Reloadable, Reloaded
from ai_gateway.config.settings import Settings
from ai_gateway.gateway import Gateway

# A full collection walks every generated model and costs 30-40 ms, which is the whole latency tail. Objects made at
# startup are frozen (`gc.freeze`), and young ones, which die by reference count, are collected less often: requests
# leave no cycles. Over 13,000 relayed requests, 64 at once, a threshold of 2,000 means 320 collections of up to 2 ms
# that find nothing, 20,000 none; with 256 at once, 400 of up to 16 ms against three of up to 10.
_GC_THRESHOLD = 20_000


@dataclass(frozen=True, slots=True)
class Application:
    """A built gateway. Its ASGI application starts and closes it by its lifespan, under any server."""

    asgi: FastAPI
    parts: Reloadable
    lifecycle: Lifecycle
    meters: Meters
    background: Background

    @property
    def settings(self) -> Settings:
        """The current settings: a reload replaces those that need no restart."""
        return self.parts.settings

    @property
    def gateway(self) -> Gateway:
        """The one gateway that all handlers use."""
        return self.parts.gateway

    async def start(self) -> None:
        """Start background tasks; afterwards the gateway is ready."""
        await self.parts.start()
        self.meters.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
        self.lifecycle.ready = True

    async def aclose(self) -> None:
        """Stop them, and close every connection."""
        self.lifecycle.ready = False
        await self.meters.aclose()
        await self.background.aclose()
        await self.parts.aclose()

    async def reload(self) -> Reloaded:
        """Read and apply the configuration, unless there are problems."""
        return await self.parts.reload()


def application_of(asgi: FastAPI) -> Application:
    """The Application of an ASGI application."""
    application: Application = asgi.state.application
    return application
