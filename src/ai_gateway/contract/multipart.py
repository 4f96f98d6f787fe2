"""Read a form strictly: multipart/form-data (RFC 7578), in memory, with bounded parts, names and bytes."""

import logging
import re
from collections.abc import Mapping

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.types import Receive

from ai_gateway.contract.body import CLOSE, BodyLimits, receive_body
from ai_gateway.contract.budget import Allocation
from ai_gateway.contract.types import UploadedFile
from ai_gateway.errors import InvalidRequest, UnsupportedMediaType

FORM = "multipart/form-data"
_MAX_PARTS = 256
_MAX_NAME_LENGTH = 256
_MAX_FILE_NAME_LENGTH = 1024
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, section 5.1.1
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_AS_THEY_ARE = {b"", b"7bit", b"8bit", b"binary"}

# The parser logs a warning for all that it refuses; callers could fill the log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def is_form(headers: Mapping[str, str]) -> bool:
    """Whether the body's media type is multipart/form-data."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


async def read_form(
    headers: Mapping[str, str], receive: Receive, limits: BodyLimits, allocation: Allocation
) -> list[tuple[str, UploadedFile]]:
    """Every part with its name, in their order; text fields are files without a file name.

    Raises InvalidRequest, UnsupportedMediaType, PayloadTooLarge, Overloaded, RequestTimeout, or ClientDisconnected.
    """
    form = FormReader(_boundary(headers))
    await receive_body(headers, receive, limits, allocation, form.feed)
    return form.finish()


def _boundary(headers: Mapping[str, str]) -> bytes:
    if not is_form(headers):
        raise UnsupportedMediaType(f"The body must be a form: send the header Content-Type: {FORM}, with its boundary.")
    boundary = parse_options_header(headers["content-type"])[1].get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise InvalidRequest("The form's Content-Type has no valid boundary: let the client make both.")
    return boundary


class FormReader:
    """Reads a form piece by piece. Raises InvalidRequest at the first piece that is wrong."""

    def __init__(self, boundary: bytes) -> None:
        self._parts: list[tuple[str, UploadedFile]] = []
        self._ended = False
        self._name = ""
        self._file: tuple[str, str | None] = ("", None)
        self._pieces: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._begin_header,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._describe,
                "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        try:
            self._parser.write(piece)
        except FormParserError:
            raise _refused("it is not as RFC 7578 says") from None

    def finish(self) -> list[tuple[str, UploadedFile]]:
        """The parts, once the body has ended."""
        if not self._ended:
            raise _refused("it ends before its closing boundary")
        return self._parts

    def _begin(self) -> None:
        if len(self._parts) >= _MAX_PARTS:
            raise _refused(f"it has more than {_MAX_PARTS} parts")
        self._headers, self._pieces = {}, []

    def _begin_header(self) -> None:
        self._header = (bytearray(), bytearray())

    def _end_header(self) -> None:
        name, value = bytes(self._header[0]).lower(), bytes(self._header[1]).strip(b" \t")
        if name in self._headers or _CONTROL.search(value):
            raise _refused("a part has a header that is repeated or holds control characters")
        self._headers[name] = value

    def _describe(self) -> None:
        """Read a part's name, file name and media type from its headers."""
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise _refused("a part has no `Content-Disposition: form-data` with a name")
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in _AS_THEY_ARE:
            raise _refused("a part is encoded: send it as it is, without Content-Transfer-Encoding")
        file_name = options.get(b"filename")
        if len(options[b"name"]) > _MAX_NAME_LENGTH or len(file_name or b"") > _MAX_FILE_NAME_LENGTH:
            raise _refused("the name of a part is too long")
        try:
            self._name = options[b"name"].decode()
            media = self._headers.get(b"content-type", b"application/octet-stream").decode("ascii")
            self._file = (media, None if file_name is None else file_name.decode())
        except UnicodeDecodeError:
            raise _refused("the name or the type of a part is not UTF-8") from None

    def _end_part(self) -> None:
        self._parts.append((self._name, UploadedFile(b"".join(self._pieces), *self._file)))

    def _end(self) -> None:
        self._ended = True


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The form cannot be read: {reason}.", headers=CLOSE)
