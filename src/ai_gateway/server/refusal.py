"""Error responses of the server itself, in the format of the client's wire, before the connection closes."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ai_gateway.contract.anthropic_wire import ANTHROPIC, claims
from ai_gateway.contract.wire import OPENAI, Headers, Wire, path_steps
from ai_gateway.errors import GatewayError
from ai_gateway.middleware.reply_headers import ReplyHeaders


def wire_of_head(url: bytes, headers: Headers) -> Wire:
    """The client's wire, by the head as far as it has been read."""
    return ANTHROPIC if claims(path_steps(url.partition(b"?")[0].decode("latin-1")), headers) else OPENAI


def refusal(
    error: GatewayError,
    wire: Wire,
    request_id: bytes,
    server_headers: Iterable[tuple[bytes, bytes]],
    reply_headers: ReplyHeaders,
) -> bytes:
    """The whole response, with `connection: close`."""
    request_id_text = request_id.decode()
    body = wire.render(error, request_id_text)
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    own += [(name.encode(), value.encode()) for name, value in wire.headers({}, request_id_text).items()]
    own += reply_headers.cors.headers_for(None, own)
    own += reply_headers.common(dict(own), request_id, 0)
    fields = [*server_headers, *own, (b"connection", b"close")]
    return STATUS_LINE[error.status] + b"".join([b"%b: %b\r\n" % field for field in fields]) + b"\r\n" + body
