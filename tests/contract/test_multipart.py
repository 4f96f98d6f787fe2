"""Reading a form: every part as it was sent, whatever the packets; and no more of it than may be."""

import asyncio
import logging
from itertools import pairwise
from typing import Literal

import httpx
import pytest
from hypothesis import given, settings, strategies as st
from starlette.types import Message

from ai_gateway.contract.body import BodyLimits, validate
from ai_gateway.contract.budget import Allocation, ByteBudget
from ai_gateway.contract.disconnect import ClientDisconnected
from ai_gateway.contract.multipart import is_form, read_form
from ai_gateway.contract.texts import read_fields
from ai_gateway.contract.types import Int, OpenModel, UploadedFile
from ai_gateway.errors import InvalidRequest, Overloaded, PayloadTooLarge, RequestTimeout, UnsupportedMediaType

LIMITS = BodyLimits(max_bytes=100_000, timeout_s=5)
BOUNDARY = "a-Boundary.of_its'own"
HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


class Sent:
    """A body in pieces; after them nothing comes."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self.messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        if ends:
            self.messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def __call__(self) -> Message:
        if not self.messages:
            await asyncio.sleep(60)
        return self.messages.pop(0)


def form(*parts: bytes, end: bytes = b"--\r\n", boundary: str = BOUNDARY) -> bytes:
    """A body of parts, each with its headers."""
    mark = b"--" + boundary.encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + end


def part(name: str, data: bytes = b"x", *headers: str, more: str = "") -> bytes:
    lines = [f'Content-Disposition: form-data; name="{name}"{more}', *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def parts_of(
    *pieces: bytes, headers: dict[str, str] = HEADERS, limits: BodyLimits = LIMITS
) -> list[tuple[str, UploadedFile]]:
    return await read_form(headers, Sent(*pieces), limits, Allocation(limits.budget))


FILE = part("file", b"\x00\r\n--\xff", "Content-Type: audio/wav; rate=8000", more='; filename="a \\"b\\"\xe4.wav"')
WHOLE = form(FILE, part("model", "größe".encode()), part("include[]", b"a"), part("include[]", b""))
READ = [
    ("file", UploadedFile(b"\x00\r\n--\xff", "audio/wav; rate=8000", 'a "b"ä.wav')),
    ("model", UploadedFile("größe".encode())),
    ("include[]", UploadedFile(b"a")),
    ("include[]", UploadedFile(b"")),
]


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 64, len(WHOLE)])
async def test_every_part_arrives_as_it_was_sent_whatever_the_packets(size: int) -> None:
    pieces = [WHOLE[at : at + size] for at in range(0, len(WHOLE), size)]
    assert await parts_of(*pieces) == READ


@given(
    fields=st.lists(st.tuples(st.text("ab[]_", min_size=1, max_size=5), st.binary(max_size=40)), max_size=5),
    cuts=st.lists(st.integers(0, 600), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_what_a_client_library_encodes_is_read_back(fields: list[tuple[str, bytes]], cuts: list[int]) -> None:
    files = [(name, ("f.bin", data, "application/x-test")) for name, data in fields] or [("none", ("f", b"", "a/b"))]
    request = httpx.Request("POST", "http://test/", files=files)
    raw = request.read()
    at = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [raw[start:end] for start, end in pairwise(at)]
    found = asyncio.run(parts_of(*pieces, headers={"content-type": request.headers["content-type"]}))
    assert found == [(name, UploadedFile(data, media, file)) for name, (file, data, media) in files]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        form(part("a"), end=b"--"),
        form(part("a"), end=b"--\r\nan epilogue"),
        b"\r\n" + form(part("a")),
        form(part("a", b"x", "content-transfer-encoding: BINARY")),
        form(part("a", b"x", "X-Odd: anything", "Content-Length: 1")),
        form(b'CONTENT-DISPOSITION:form-data;NAME="a"\r\n\r\nx'),
    ],
    ids=["no line end", "epilogue", "preamble of line ends", "binary", "other headers", "spelled otherwise"],
)
async def test_what_rfc_7578_allows_is_taken(body: bytes) -> None:
    assert await parts_of(body) == [("a", UploadedFile(b"x"))]


REFUSED: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "it ends before its closing boundary"),
    ("cut in a part", form(part("a"))[:-20], "it ends before its closing boundary"),
    ("no closing boundary", form(part("a"), end=b""), "it ends before its closing boundary"),
    ("another boundary", form(part("a"), boundary="other"), "it is not as RFC 7578 says"),
    ("a preamble", b"hello\r\n" + form(part("a")), "it is not as RFC 7578 says"),
    ("line feeds alone", form(part("a")).replace(b"\r\n", b"\n"), "it is not as RFC 7578 says"),
    ("JSON", b'{"a": 1}', "it is not as RFC 7578 says"),
    ("no disposition", form(b"Content-Type: text/plain\r\n\r\nx"), "a part has no `Content-Disposition: form-data`"),
    ("an attachment", form(b'Content-Disposition: attachment; name="a"\r\n\r\nx'), "a part has no `Content-Disp"),
    ("no name", form(b"Content-Disposition: form-data\r\n\r\nx"), "a part has no `Content-Disposition: form-data`"),
    ("a header twice", form(part("a", b"x", 'Content-Disposition: form-data; name="b"')), "a part has a header that"),
    ("a line feed in a header", form(part("a", b"x", "X-A: 1\n2")), "a part has a header that is repeated or holds"),
    ("NUL in a name", form(part("a\x00b")), "a part has a header that is repeated or holds"),
    ("base64", form(part("a", b"eA==", "Content-Transfer-Encoding: base64")), "a part is encoded"),
    ("a name in Latin-1", form(part("a").replace(b'"a"', b'"\xe4"')), "the name or the type of a part is not UTF-8"),
    ("a type in Latin-1", form(part("a", b"x", "Content-Type: \xe4/b")), "the name or the type of a part is not UTF-8"),
    ("a long name", form(part("a" * 257)), "the name of a part is too long"),
    ("a long file name", form(part("a", more=f'; filename="{"f" * 1025}"')), "the name of a part is too long"),
    ("many parts", form(*[part("a", b"")] * 257), "it has more than 256 parts"),
    ("many headers", form(part("a", b"x", *[f"X-{n}: 1" for n in range(20)])), "it is not as RFC 7578 says"),
    ("a long header", form(part("a", b"x", "X-A: " + "a" * 5_000)), "it is not as RFC 7578 says"),
]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize(("body", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_any_other_form_is_refused_with_its_reason(
    body: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for pieces in ([body], [body[at : at + 3] for at in range(0, len(body), 3)]):
        with pytest.raises(InvalidRequest) as refused:
            await parts_of(*pieces)
        assert refused.value.message.startswith(f"The form cannot be read: {reason}")
        assert refused.value.headers["connection"] == "close"
    assert not [record for record in caplog.records if record.name.startswith("python_multipart")]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("media", "error"),
    [
        ("", UnsupportedMediaType),
        ("application/json", UnsupportedMediaType),
        ("multipart/mixed; boundary=a", UnsupportedMediaType),
        ("multipart/form-data", InvalidRequest),
        ("multipart/form-data; boundary=", InvalidRequest),
        ("multipart/form-data; boundary=" + "a" * 71, InvalidRequest),
        ('multipart/form-data; boundary="a "', InvalidRequest),
        ('multipart/form-data; boundary="a\tb"', InvalidRequest),
        ("multipart/form-data; boundary=ä", InvalidRequest),
    ],
)
async def test_a_body_that_does_not_call_itself_a_form_with_a_boundary_is_not_read(
    media: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await read_form({"content-type": media} if media else {}, Sent(ends=False), LIMITS, Allocation(LIMITS.budget))
    assert is_form({"content-type": media}) == media.startswith("multipart/form-data")


@pytest.mark.anyio
@pytest.mark.parametrize("boundary", [f'"{BOUNDARY}"', f"{BOUNDARY}; charset=utf-8"])
async def test_a_boundary_may_be_quoted_and_followed_by_more(boundary: str) -> None:
    headers = {"content-type": f"Multipart/Form-Data; boundary={boundary}"}
    assert await parts_of(WHOLE, headers=headers) == READ


@pytest.mark.anyio
async def test_a_form_keeps_to_the_limits_of_all_bodies() -> None:
    small = BodyLimits(max_bytes=100, timeout_s=5)
    with pytest.raises(PayloadTooLarge):
        await parts_of(form(part("a", b"x" * 200)), limits=small)
    with pytest.raises(Overloaded):
        await parts_of(form(part("a")), limits=BodyLimits(1_000, 5, budget=ByteBudget(20)))
    with pytest.raises(RequestTimeout):
        await read_form(HEADERS, Sent(WHOLE[:40], ends=False), BodyLimits(1_000, 0.05), Allocation(LIMITS.budget))
    gone = Sent()
    gone.messages = [{"type": "http.disconnect"}]
    with pytest.raises(ClientDisconnected):
        await read_form(HEADERS, gone, LIMITS, Allocation(LIMITS.budget))


@pytest.mark.anyio
async def test_a_form_takes_its_size_from_the_room_for_bodies_until_it_is_given_back() -> None:
    budget = ByteBudget(10_000)
    allocation = Allocation(budget)
    await read_form(HEADERS, Sent(WHOLE), LIMITS, allocation)
    assert budget.used == len(WHOLE)
    allocation.release()
    assert budget.used == 0


class Server(OpenModel):
    type: str
    threshold: float | None = None


class Body(OpenModel):
    file: UploadedFile
    masks: UploadedFile | list[UploadedFile] | None = None
    model: str
    n: Int | None = None
    stream: bool | None = None
    include: list[str] | None = None
    chunking: Server | Literal["auto"] | None = None


async def read(*parts: bytes) -> Body:
    return validate(Body, read_fields(Body, await parts_of(form(*parts)), others=True))


@pytest.mark.anyio
async def test_a_form_is_read_as_its_model_takes_it() -> None:
    found = await read(
        part("chunking[type]", b"server_vad"),
        part("chunking[threshold]", b"0.5"),
        part("n", b"2"),
        FILE,
        part("masks", b"1", more='; filename="m"'),
        part("masks[]", b"2", more='; filename="n"'),
        part("model", b"5"),
        part("stream", b"true"),
        part("include[]", b"a"),
        part("include", b"b"),
        part("further", b"1"),
        part("attached", b"2", more='; filename="o"'),
    )
    assert found.file == READ[0][1]
    assert found.masks == [
        UploadedFile(b"1", "application/octet-stream", "m"),
        UploadedFile(b"2", "application/octet-stream", "n"),
    ]
    assert (found.model, found.n, found.stream, found.include) == ("5", 2, True, ["a", "b"])
    assert found.chunking == Server(type="server_vad", threshold=0.5)
    assert found.model_extra == {"further": "1", "attached": UploadedFile(b"2", "application/octet-stream", "o")}


@pytest.mark.anyio
@pytest.mark.parametrize(("sent", "expected"), [
    (part("chunking", b'{"type": "server_vad"}'), Server(type="server_vad")),
    (part("chunking", b"auto"), "auto"),
])  # fmt: skip
async def test_an_object_may_come_as_json_where_the_model_takes_one(sent: bytes, expected: object) -> None:
    found = await read(part("file"), part("model"), sent)
    assert found.chunking == expected


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("parts", "param", "message"),
    [
        ([part("model")], "file", "Missing required parameter: 'file'. Add it."),
        ([part("file")], "model", "Missing required parameter: 'model'. Add it."),
        ([part("file"), part("file"), part("model")], "file", "'file' is given more than once: give it once."),
        ([part("file"), part("model"), part("n", b"x")], "n", "Invalid value for 'n': expected an integer."),
        ([part("file"), part("model"), part("stream", b"1")], "stream", "Invalid value for 'stream': expected true"),
        ([part("file"), part("model", b"\xff")], "model", "'model' is not UTF-8."),
        ([part("file"), part("model"), part("odd name \u2028", b"\xff")], None, "A field is not UTF-8."),
        (
            [part("file"), part("model"), part("chunking", b"{auto}")],
            "chunking",
            "Invalid value for 'chunking': expect",
        ),
        ([part("file"), part("model"), part("n[a]", b"1")], "n", "Invalid value for 'n': expected an integer."),
    ],
)
async def test_a_field_that_is_not_what_the_model_takes_is_named(
    parts: list[bytes], param: str | None, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await read(*parts)
    assert refused.value.param == param
    assert refused.value.message.startswith(message)
