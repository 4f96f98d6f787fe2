"""The head of a request to an upstream. No line of it can hold another one."""

from collections.abc import Mapping


def json_headers(accept: str | None) -> dict[str, str]:
    """The headers about the media types of a JSON request and of its reply, if that is known."""
    return {} if accept is None else {"accept": accept, "content-type": "application/json"}


def head_lines(headers: Mapping[str, str]) -> str:
    """These headers as lines with line ends. Raises ValueError for a header that contains a line end."""
    text = ""
    for name, value in headers.items():
        line = f"{name}: {value}"
        if not line.isprintable() and ("\n" in line or "\r" in line or "\0" in line):
            raise ValueError("a line of the request would hold another one")
        text = f"{text}{line}\r\n"
    return text


def request_line(method: str, target: str) -> str:
    """The request line with its line end. Raises ValueError for one that contains a line end or blank.

    HEAD and CONNECT are not supported: the parser could not find the end of their replies.
    """
    if method in {"HEAD", "CONNECT"}:
        raise ValueError(f"{method} requests are not for this client")
    if not target.isprintable() or " " in target:
        raise ValueError("a line of the request would hold another one")
    return f"{method} {target} HTTP/1.1\r\n"


def request_head(start: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """A request's head: its `start`, which is whole lines, and further headers.

    Raises ValueError for a header that contains a line end.
    """
    own = f"Content-Length: {length}\r\n" if length is not None else ""
    return f"{start}{head_lines(headers)}{own}\r\n".encode()
