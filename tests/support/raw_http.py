"""Exact bytes to a gateway over a bare socket, and what comes back: for what no HTTP client would send."""

import json
import socket
import time
from dataclasses import dataclass

from tests.support.gateway import HOST, TEST_KEY, LiveGateway

ANSWER_S = 30.0
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()


def head(body: bytes, *headers: str, provider: str = "custom") -> bytes:
    lines = [
        f"POST /{provider}/v1/chat/completions HTTP/1.1",
        f"Host: {HOST}",
        f"Authorization: Bearer {TEST_KEY}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def exchange(gateway: LiveGateway, *parts: bytes, until: bytes | None = None) -> bytes:
    """Send the parts one after the other; everything that came back, up to `until` or the end."""
    received = b""
    with socket.create_connection((HOST, gateway.port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)
        while part := connection.recv(65536):
            received += part
            if until is not None and until in received:
                break
    return received


@dataclass(frozen=True)
class Answer:
    """What came back. `raw` is every byte until the connection ended or fell silent."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    def error(self) -> dict[str, object]:
        """The error of an envelope that holds exactly what the contract says."""
        envelope = json.loads(self.body)
        assert list(envelope) == ["error"]
        error: dict[str, object] = envelope["error"]
        assert sorted(error) == ["code", "message", "param", "type"]
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        assert error["param"] is None or isinstance(error["param"], str)
        assert error["code"] is None or isinstance(error["code"], str)
        return error


def talk(live: LiveGateway, data: bytes, *, half_close: bool = False) -> Answer | None:
    """Send these bytes and read one answer; None when the connection was closed without one."""
    with socket.create_connection((HOST, live.port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused while we were still sending: the answer is waiting
        return parse(receive(connection))


def receive(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection, or 0.05 s after a whole answer."""
    raw = b""
    try:
        while piece := connection.recv(2**16):
            raw += piece
            if whole(raw):
                connection.settimeout(0.05)
    except TimeoutError:
        assert raw, "neither an answer nor an end"
    except ConnectionResetError:
        pass
    return raw


def whole(raw: bytes) -> bool:
    head, found, body = raw.partition(b"\r\n\r\n")
    length = head_fields(head).get("content-length")
    return bool(found) and (length is None or len(body) >= int(length))


def head_fields(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


def parse(raw: bytes) -> Answer | None:
    if not raw:
        return None
    head, _, rest = raw.partition(b"\r\n\r\n")
    fields = head_fields(head)
    status = int(head.split(b" ", 2)[1])
    return Answer(status, fields, rest[: int(fields.get("content-length", len(rest)))], raw)
