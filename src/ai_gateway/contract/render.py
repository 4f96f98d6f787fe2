"""How a failure looks on each wire."""

import json
from collections.abc import Callable, Mapping

from ai_gateway.errors import GatewayError, MissingParameter

type Render = Callable[[GatewayError], bytes]

INTERNAL = GatewayError("The gateway failed. Try again; if it persists, report the request id.")


def as_gateway_error(error: BaseException) -> GatewayError:
    """The error itself if it is one of ours; anything else is internal, and its words stay inside."""
    return error if isinstance(error, GatewayError) else INTERNAL


def openai_envelope(error: GatewayError) -> bytes:
    """The JSON body of an error, with all four fields that clients read."""
    fields = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    return json.dumps({"error": fields}, separators=(",", ":"), ensure_ascii=False).encode()


def ollama_envelope(error: GatewayError) -> bytes:
    """The JSON body of an error in Ollama's words: the message alone, which begins as its server's does."""
    missing = isinstance(error, MissingParameter) and error.param == "model"
    message = "model is required: add it." if missing else error.message
    return json.dumps({"error": message}, separators=(",", ":"), ensure_ascii=False).encode()


class Wires:
    """How errors look outside of the contract's operations: by the first part of the path, OpenAI's where none fits."""

    def __init__(self, wires: Mapping[str, Render]) -> None:
        self._wires = dict(wires)

    def render(self, path: str, error: GatewayError) -> bytes:
        """The error's JSON body for a request to `path`."""
        first = path.lstrip("/").partition("/")[0]
        return self._wires.get(first, openai_envelope)(error)
