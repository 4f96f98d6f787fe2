"""The upstream's operations as the checks call them, with the models to use."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ai_gateway.probe.client import ProbeClient
from ai_gateway.probe.reply import Events, Reply
from ai_gateway.probe.verdict import Failed

CHAT, COMPLETIONS, EMBEDDINGS, MODELS = "/chat/completions", "/completions", "/embeddings", "/models"
QUESTION = "Say hello in three words."
NO_SUCH_MODEL = "fault-model-not-found"
"""A model that does not exist anywhere: the gateway's built-in provider, which accepts any other name, rejects it."""


def user(content: object) -> dict[str, object]:
    """A user message."""
    return {"role": "user", "content": content}


@dataclass(frozen=True, slots=True)
class Probe:
    """The upstream under test. Every method returns the response unchanged, error responses included."""

    client: ProbeClient
    model: str
    embedding_model: str

    @property
    def has_key(self) -> bool:
        """Whether a key was given, so that requests without one can be tested too."""
        return bool(self.client.key)

    async def get(self, path: str, **headers: str) -> Reply:
        """Any path; `_` in the name of a header stands for `-`."""
        return await self.send("GET", path, None, **headers)

    async def send(self, method: str, path: str, body: bytes | None, **headers: str) -> Reply:
        """Any request, unchanged."""
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, path, body, renamed)

    async def post(self, path: str, body: Mapping[str, object]) -> Reply:
        """A JSON body to a path."""
        return await self.send("POST", path, json.dumps(body).encode())

    async def retrieve(self, model: str) -> Reply:
        """One model of the list; slashes in its id are not encoded."""
        return await self.get(f"{MODELS}/{quote(model, safe='/:@')}")

    async def chat(self, **fields: object) -> Reply:
        """A chat completion, by default of one short question."""
        return await self.post(CHAT, {"model": self.model, "messages": [user(QUESTION)], **fields})

    async def stream(self, **fields: object) -> Events:
        """A streamed chat completion."""
        return streamed(await self.chat(stream=True, **fields))

    async def complete(self, **fields: object) -> Reply:
        """A legacy completion."""
        return await self.post(COMPLETIONS, {"model": self.model, "prompt": "Once upon a time", **fields})

    async def embed(self, **fields: object) -> Reply:
        """Embeddings, by default of one string."""
        return await self.post(EMBEDDINGS, {"model": self.embedding_model, "input": "The river is wide.", **fields})


def streamed(reply: Reply) -> Events:
    """The events of a response that must be a stream."""
    if reply.status != 200:
        raise Failed("status 200 and a stream", reply)
    return reply.events()
