"""What the configured providers say they have: asked rarely, remembered, and never waited for longer than a moment."""

import asyncio
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import structlog

from ai_gateway.conform.conformer import Conformer
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.errors import UnsupportedOperation
from ai_gateway.providers.base import Provider
from gateway_contract.openai import models

_log = structlog.get_logger(__name__)
# One silent provider must not keep the list of all others back.
ANSWER_S = 3.0
# A provider that could not answer is not asked again at once; what it said before stays.
_RETRY_S = 30.0

type State = Literal["ready", "unreachable", "unknown"]


@dataclass(slots=True)
class Shelf:
    """One provider's models, by their ids there. `listed` is None until it has answered once."""

    provider: Provider
    listed: dict[str, models.Model] | None = None
    state: State = "unknown"
    due: float = 0.0
    asking: asyncio.Task[None] | None = field(default=None, repr=False)


class Catalogue:
    """One shelf a provider, in order of configuration. Each is asked by one task at a time."""

    def __init__(self, providers: Iterable[Provider], ttl_s: float = 300.0) -> None:
        self._shelves = {provider.name: Shelf(provider) for provider in providers}
        self._ttl_s = ttl_s
        self.version = 0  # grows with every answer, so that what is made of the answers can be kept until the next one

    @property
    def shelves(self) -> Sequence[Shelf]:
        """Every provider's, whatever is known of it."""
        return list(self._shelves.values())

    def known(self, provider: str, model: str) -> models.Model | None:
        """What a provider said of a model, if it has been asked and has it."""
        shelf = self._shelves.get(provider)
        return shelf.listed.get(model) if shelf is not None and shelf.listed is not None else None

    def who_has(self, model: str) -> tuple[Provider, str] | None:
        """The first configured provider that lists the model, as far as is known, and what it is called there."""
        for shelf in self._shelves.values():
            if shelf.listed is None:
                continue
            if model in shelf.listed:
                return shelf.provider, model
            # Ollama lists `name:latest` where its users say `name`.
            if "ollama" in shelf.provider.wires and f"{model}:latest" in shelf.listed:
                return shelf.provider, f"{model}:latest"
        return None

    def take_over(self, other: "Catalogue") -> None:
        """Know what the other knows of the providers that both have, by identity and not by name."""
        for name, shelf in self._shelves.items():
            theirs = other._shelves.get(name)
            if theirs is not None and theirs.provider is shelf.provider:
                shelf.listed, shelf.state, shelf.due = theirs.listed, theirs.state, theirs.due
        self.version += 1

    def ask_around(self) -> None:
        """Begin to ask, in the background, whoever has not said anything lately."""
        self._begin()

    async def fill(self, *, renew: bool = False) -> None:
        """Wait for whoever was never asked before; to `renew` is to wait for everybody whose answer is due."""
        waiting = [task for shelf, task in self._begin() if renew or shelf.state == "unknown"]
        if waiting:
            # The tasks are everybody's: one caller who leaves must not end them for the others.
            await asyncio.wait(waiting)

    async def aclose(self) -> None:
        """Stop asking."""
        tasks = [shelf.asking for shelf in self._shelves.values() if shelf.asking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self) -> list[tuple[Shelf, asyncio.Task[None]]]:
        """A task for every provider whose answer is due, or the one that is under way."""
        now = time.monotonic()
        for shelf in self._shelves.values():
            if shelf.asking is None and shelf.due <= now:
                shelf.asking = asyncio.create_task(self._ask(shelf))
        return [(shelf, shelf.asking) for shelf in self._shelves.values() if shelf.asking is not None]

    async def _ask(self, shelf: Shelf) -> None:
        attempt = Attempt(Call("listModels", f"models-{secrets.token_hex(8)}"), Notes(shelf.provider.name))
        conformer = Conformer(shelf.provider, attempt, "")
        try:
            async with asyncio.timeout(ANSWER_S):
                received = await shelf.provider.list_models(attempt)
            answer = conformer.item(models.ListModelsResponse, received).model.data
            shelf.listed = {model.id: model for model in answer}
            shelf.state = "ready"
            self.version += 1
        except UnsupportedOperation:  # it has models, but no list of them
            shelf.listed, shelf.state = {}, "ready"
            self.version += 1
        except Exception as error:  # whatever is wrong with one must not hide the others
            shelf.state = "unreachable"
            _log.warning("models not listed", provider=shelf.provider.name, reason=repr(error))
        finally:
            pause = self._ttl_s if shelf.state == "ready" else min(self._ttl_s, _RETRY_S)
            shelf.due = time.monotonic() + pause
            shelf.asking = None
