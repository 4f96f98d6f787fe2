"""How a failure looks on OpenAI's wire."""

import json

from ai_gateway.errors import GatewayError

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
