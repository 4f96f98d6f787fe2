"""Bytes no well-meaning client sends, and the statuses each may be answered with.

Every row carries the canary where its trick lives, so that an echo shows. `protocol` rows are refused by the HTTP
layer before a request exists; `may_close` rows may also be cut without an answer. Where 200 is allowed the value is
odd but legal: an id of a model may be anything, and may then come back.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.gateway import TEST_KEY

CANARY = "canary7f3a"
CHAT = "/custom/v1/chat/completions"
LIMIT = 256 * 1024
"""REQUEST_MAX_SIZE of the gateway under test."""


@dataclass(frozen=True)
class Row:
    name: str
    data: bytes
    statuses: tuple[int, ...]
    param: str | None = None
    protocol: bool = False
    may_close: bool = False
    half_close: bool = False
    """Shut the sending side down after the bytes, as a client that died does."""


def request(
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = CHAT,
    key: str | None = TEST_KEY,
    content_type: str | None = "application/json",
    headers: tuple[str, ...] = (),
    length: int | None = None,
) -> bytes:
    """A well-formed request but for what the caller spoils."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Probe: {CANARY}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += [f"Content-Type: {content_type}"] if content_type else []
    if method in {"POST", "PUT", "PATCH"} and length != -1:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def chat(**fields: object) -> bytes:
    message = {"role": "user", "content": CANARY}
    return json.dumps({"model": "custom-model", "messages": [message], **fields}).encode()


def spoiled(fragment: bytes) -> bytes:
    """A chat request with this fragment as one more member."""
    return chat()[:-1] + b"," + fragment + b"}"


GOOD = chat()


def bodies() -> Iterator[Row]:
    """Requests whose JSON is not JSON, or not this JSON."""
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999"):
        raw = number.encode()
        yield Row(f"{number} in a known field", request(spoiled(b'"temperature":' + raw)), (400,))
        yield Row(f"{number} in an unknown field", request(spoiled(b'"x_canary7f3a":{"a":[' + raw + b"]}")), (400,))
        yield Row(f"{number} in metadata", request(spoiled(b'"metadata":{"canary7f3a":' + raw + b"}")), (400,))
    for name, text in (
        ("a lone high surrogate", rb"\ud800"),
        ("a lone low surrogate", rb"\udc00"),
        ("surrogates in the wrong order", rb"\udc00\ud800"),
    ):
        yield Row(f"{name} in a value", request(spoiled(b'"user":"canary7f3a' + text + b'"')), (400,))
    yield Row("a lone surrogate in a key", request(spoiled(rb'"canary7f3a\ud800":1')), (400,))
    yield Row("a surrogate encoded as UTF-8", request(spoiled(b'"user":"canary7f3a\xed\xa0\x80"')), (400,))
    yield Row("invalid UTF-8", request(spoiled(b'"user":"canary7f3a\xff\xfe"')), (400,))
    yield Row("overlong UTF-8", request(spoiled(b'"user":"canary7f3a\xc0\xaf"')), (400,))
    yield Row("UTF-16 with a mark", request(GOOD.decode().encode("utf-16")), (400,))
    yield Row("UTF-16 without a mark", request(GOOD.decode().encode("utf-16-le")), (400,))
    yield Row("UTF-32", request(GOOD.decode().encode("utf-32")), (400,))
    yield Row("a byte order mark", request(b"\xef\xbb\xbf" + GOOD), (400,))
    yield Row("an integer of 5,000 digits", request(spoiled(b'"seed":' + b"9" * 5000)), (400,))
    yield Row("an integer of 65 bits", request(spoiled(b'"max_tokens":18446744073709551616')), (200, 400))
    yield Row("an unknown integer of 5,000 digits", request(spoiled(b'"x_canary7f3a":' + b"9" * 5000)), (400,))
    yield Row("100,000 open arrays", request(spoiled(b'"x":' + b"[" * 100_000)), (400,))
    deep = b"[" * 100_000 + b"]" * 100_000
    yield Row("100,000 nested arrays", request(spoiled(b'"x":' + deep)), (400,))
    yield Row("20,000 nested objects", request(spoiled(b'"x":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000)), (400,))
    for name, top in (("array", b'["canary7f3a"]'), ("string", b'"canary7f3a"'), ("number", b"7"), ("null", b"null")):
        yield Row(f"a top-level {name}", request(top), (400,))
    yield Row("text after the JSON", request(GOOD + b" canary7f3a"), (400,))
    yield Row("two documents", request(GOOD + GOOD), (400,))
    yield Row("JSON cut short", request(GOOD[:-3]), (400,))
    yield Row("single quotes", request(b"{'model':'canary7f3a'}"), (400,))
    yield Row("a trailing comma", request(GOOD[:-1] + b",}"), (400,))
    yield Row("a comment in JSON", request(b"/* canary7f3a */" + GOOD), (400,))
    yield Row("a raw control character in a string", request(spoiled(b'"user":"canary7f3a\x01"')), (400,))
    yield Row("an empty body", request(b""), (400,))
    yield Row("white space only", request(b" \r\n\t "), (400,))


def values() -> Iterator[Row]:
    """Well-formed JSON that the contract refuses, with the field it must name."""
    yield Row("NUL in model", request(chat(model=f"{CANARY}\0")), (400,), "model")
    yield Row("NUL in user", request(chat(user=f"{CANARY}\0")), (400,), "user")
    yield Row("NUL in a metadata value", request(chat(metadata={"a": f"{CANARY}\0"})), (400,), "metadata.a")
    yield Row("NUL in a metadata key", request(chat(metadata={f"{CANARY}\0": "a"})), (400,))
    yield Row("no model", request(GOOD.replace(b'"model"', b'"canary7f3a"')), (400,), "model")
    yield Row("an empty model", request(chat(model="")), (200, 400, 404))
    yield Row("a model of the wrong type", request(chat(model=[CANARY])), (400,), "model")
    yield Row("no messages", request(b'{"model":"canary7f3a"}'), (400,), "messages")
    yield Row("empty messages", request(chat(messages=[])), (400,), "messages")
    role = [{"role": CANARY, "content": "x"}]
    yield Row("an unknown role", request(chat(messages=role)), (400,), "messages[0].role")
    part = [{"role": "user", "content": [{"type": "text", "text": 5}]}]
    yield Row("a part with a wrong text", request(chat(messages=part)), (400,), "messages[0].content[0].text")
    yield Row("a temperature out of range", request(chat(temperature=2.5)), (400,), "temperature")
    yield Row("a number as a string", request(chat(temperature="0.5")), (400,), "temperature")
    yield Row("a boolean as a number", request(chat(n=True)), (400,), "n")
    yield Row("n of 129", request(chat(n=129)), (400,), "n")
    yield Row("stream as a string", request(chat(stream="true")), (400,), "stream")
    tools = [{"type": "function", "function": {"description": CANARY}}]
    yield Row("a tool without a name", request(chat(tools=tools)), (400,), "tools[0].function.name")
    path = "/custom/v1/embeddings"
    yield Row("no input to embed", request(b'{"model":"canary7f3a"}', path=path), (400,), "input")
    odd = json.dumps({"model": "m", "input": [CANARY, 1]}).encode()
    yield Row("mixed inputs to embed", request(odd, path=path), (400,))
    fat = json.dumps({"model": "m", "input": "x", "encoding_format": CANARY}).encode()
    yield Row("an unknown encoding format", request(fat, path=path), (400,), "encoding_format")
    yield Row(
        "a prompt of the wrong type", request(b'{"model":"m","prompt":{}}', path="/custom/v1/completions"), (400,)
    )


def media_types() -> Iterator[Row]:
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "multipart/form-data; boundary=x",
    ):
        yield Row(f"content type {kind}", request(GOOD, content_type=kind), (415,))
    yield Row("no content type", request(GOOD, content_type=None), (415,))
    yield Row("an empty content type", request(GOOD, content_type=None, headers=("Content-Type:",)), (415,))
    yield Row(
        "a charset that JSON does not have", request(GOOD, content_type="application/json; charset=utf-16"), (415,)
    )
    yield Row("a content type that only begins right", request(GOOD, content_type="application/jsonp"), (415,))
    for coding in ("gzip", "br", "deflate", "gzip, identity", CANARY):
        yield Row(f"content encoding {coding}", request(GOOD, headers=(f"Content-Encoding: {coding}",)), (415,))


def sizes() -> Iterator[Row]:
    fat = chat(user=CANARY * (LIMIT // len(CANARY)))
    yield Row("a body over the limit, declared", request(fat), (413,))
    yield Row("a declared length of 100 MB", request(b"{", length=100 * 2**20), (413,))
    yield Row("a declared length of 2^63", request(b"{", length=2**63), (400, 413), protocol=True)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (fat[:LIMIT], fat[LIMIT:])) + b"0\r\n\r\n"
    yield Row("a chunked body over the limit", chunked(chunks), (413,))


def chunked(body: bytes, *, headers: tuple[str, ...] = ("Transfer-Encoding: chunked",), length: int = -1) -> bytes:
    return request(length=length, headers=headers) + body


def paths() -> Iterator[Row]:
    """Tricks in `{provider}` and `{model}`."""
    tail = "/v1/chat/completions"
    for name, head in (
        ("an unknown provider", "/canary7f3a"),
        ("dots for a provider", "/.."),
        ("a climb out of the provider", f"/{CANARY}/../../etc"),
        ("an encoded climb", f"/%2e%2e/{CANARY}"),
        ("an encoded slash in the provider", f"/custom%2f{CANARY}"),
        ("a doubled slash", f"//{CANARY}"),
        ("an encoded NUL in the provider", f"/custom%00{CANARY}"),
        ("an encoded line end in the provider", f"/custom%0d%0aX-Injected:{CANARY}"),
        ("an emoji for a provider", f"/%F0%9F%98%80{CANARY}"),
        ("bad UTF-8 for a provider", f"/%ff%fe{CANARY}"),
        ("bad percent bytes", f"/%zz%{CANARY}"),
        ("a provider of the wrong case", "/CUSTOM"),
        ("a reserved word for a provider", "/metrics"),
    ):
        yield Row(name, request(GOOD, path=head + tail), (400, 404))
    yield Row("a very long provider", request(GOOD, path="/" + "canary7f3a" * 500 + tail), (400, 404, 414))
    yield Row(
        "a path of 100,000 bytes", request(GOOD, path="/" + "canary7f3a" * 10_000), (400, 404, 414, 431), protocol=True
    )
    yield Row("raw high bytes in the path", request(GOOD, path="/\xff\xfe" + tail), (400, 404), protocol=True)
    yield Row("a path without a slash", request(GOOD, path=CANARY), (400, 404), protocol=True)
    yield Row("an absolute address", request(GOOD, path=f"http://{CANARY}/nothing/v1/models"), (400, 404, 405))
    for name, model in (
        ("a climb in the model", "../../admin"),
        ("an encoded climb in the model", "%2e%2e%2f%2e%2e%2fadmin"),
        ("an encoded line end in the model", "a%0d%0aX-Injected:%20yes"),
        ("bad UTF-8 in the model", "%ff%fe"),
        ("an emoji for a model", "%F0%9F%98%80"),
        ("doubled slashes in the model", "a//b"),
        ("a very long model", "x" * 5000),
    ):
        path = f"/custom/v1/models/{model}{CANARY}"
        yield Row(name, request(method="GET", path=path), (200, 400, 404, 414))
    nul = f"/custom/v1/models/a%00{CANARY}"
    yield Row("an encoded NUL in the model", request(method="GET", path=nul), (400, 404))
    yield Row("no model after the slash", request(method="GET", path="/custom/v1/models/"), (404,))
    fat = chat(user="x" * (LIMIT - 1000))
    yield Row("an unknown path and a large body", request(fat, path="/v1/canary7f3a"), (404,))
    yield Row("a slash after the operation", request(GOOD, path=CHAT + "/"), (404,))


def methods() -> Iterator[Row]:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        yield Row(f"{method} on chat", request(GOOD if method in {"PUT", "PATCH"} else b"", method=method), (405,))
    yield Row("POST on models", request(GOOD, path="/custom/v1/models"), (405,))
    yield Row("DELETE on a model", request(method="DELETE", path="/custom/v1/models/x"), (405,))
    yield Row("an unknown method", request(method="BREW"), (400, 405), protocol=True)
    yield Row("CONNECT", request(method="CONNECT", path="canary7f3a:443"), (400, 404, 405), protocol=True)
    yield Row("TRACE", request(method="TRACE"), (405,))


def keys() -> Iterator[Row]:
    """No key, a wrong key, a mangled key: always 401, before the body is looked at."""
    yield Row("no key", request(GOOD, key=None), (401,))
    yield Row("no key and broken JSON", request(b"{canary7f3a", key=None), (401,))
    yield Row("no key and a wrong content type", request(GOOD, key=None, content_type="text/plain"), (401,))
    yield Row("no key and a body that never comes", request(b"{", key=None, length=1000), (401,))
    yield Row("no key and a large body", request(chat(user="x" * (LIMIT - 1000)), key=None), (401,))
    yield Row("no key and a body over the limit", request(b"{", key=None, length=100 * 2**20), (401,))
    yield Row("no key and an unknown model", request(method="GET", path="/custom/v1/models/x", key=None), (401,))
    yield Row("a wrong key", request(GOOD, key=CANARY), (401,))
    yield Row("a key with one byte more", request(GOOD, key=TEST_KEY + "x"), (401,))
    yield Row("the first bytes of the key", request(GOOD, key=TEST_KEY[:12]), (401,))
    yield Row("SQL for a key", request(GOOD, key=f"' OR '1'='1' -- {CANARY}"), (401,))
    yield Row("a very long key", request(GOOD, key=CANARY * 3000), (401,))
    yield Row("bytes for a key", request(GOOD, key=f"{CANARY}\xff\x80"), (401,))
    yield Row("a wrong scheme", request(GOOD, key=None, headers=(f"Authorization: Basic {TEST_KEY}",)), (401,))
    yield Row("a scheme only", request(GOOD, key=None, headers=("Authorization: Bearer",)), (401,))
    yield Row("a Host that names a health check", _hosted("healthz"), (401,))
    yield Row("a Host with a path in it", _hosted("127.0.0.1/healthz?"), (400, 401))
    yield Row("a Host with a line of a query", _hosted("a/healthz#"), (400, 401))
    yield Row("a forwarded path", request(GOOD, key=None, headers=("X-Forwarded-Prefix: /healthz",)), (401,))
    yield Row("a rewritten path", request(GOOD, key=None, headers=("X-Original-URL: /healthz",)), (401,))


def _hosted(host: str) -> bytes:
    return request(GOOD, key=None).replace(b"Host: 127.0.0.1", f"Host: {host}".encode())


def smuggling() -> Iterator[Row]:
    """Two readings of where a request ends: refused, and the connection with it."""
    inner = request(method="GET", path=f"/custom/v1/models/{CANARY}")
    both = ("Transfer-Encoding: chunked",)
    yield Row("length and chunks", chunked(b"0\r\n\r\n" + inner, headers=both, length=4), (400,), protocol=True)
    turned = ("Transfer-Encoding: chunked", "Content-Length: 4")
    yield Row("chunks and length", chunked(b"0\r\n\r\n" + inner, headers=turned), (400,), protocol=True)
    lengths = ("Content-Length: 3",)
    yield Row("two lengths", request(GOOD, headers=lengths), (400,), protocol=True)
    for coding in (
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
    ):
        data = chunked(b"0\r\n\r\n", headers=(coding,))
        yield Row(coding.replace(":", ""), data, (400, 501), protocol=True)
    for length in ("-5", "+5", "5x", "0x5", "5, 6", ""):
        data = request(GOOD, length=-1, headers=(f"Content-Length: {length}",))
        yield Row(f"a length of {length!r}", data, (400,), protocol=True)
    bare = request(GOOD).replace(b"\r\n", b"\n")
    yield Row("bare line feeds", bare, (400,), protocol=True)
    yield Row("a bare carriage return", request(GOOD, headers=(f"X-A: b\rX-B: {CANARY}",)), (400,), protocol=True)
    yield Row("a folded header", request(GOOD, headers=(f"X-A: b\r\n {CANARY}",)), (400,), protocol=True)
    yield Row("a huge chunk size", chunked(b"f" * 17 + b"\r\n{}"), (400, 413), protocol=True)
    yield Row("a chunk size that is no number", chunked(b"canary7f3a\r\n{}\r\n"), (400,), protocol=True)
    yield Row("a negative chunk size", chunked(b"-1\r\n{}\r\n"), (400,), protocol=True)
    yield Row("a chunk longer than it says", chunked(b"2\r\n{}canary7f3a\r\n0\r\n\r\n"), (400,), protocol=True)


def framing() -> Iterator[Row]:
    """Requests that are hardly HTTP."""
    yield Row("a 1 MB header", request(GOOD, headers=("X-Big: " + "canary7f3a" * 104_858,)), (431,), protocol=True)
    many = tuple(f"X-H{i}: {CANARY}" for i in range(10_000))
    yield Row("10,000 headers", request(GOOD, headers=many), (431,), protocol=True)
    yield Row("101 headers", request(GOOD, headers=many[:101]), (431,))
    yield Row("70 KB of headers", request(GOOD, headers=("X-Big: " + "canary7f3a" * 7000,)), (431,))
    version = request(GOOD).replace(b"HTTP/1.1", b"HTTP/9.9")
    yield Row("an HTTP version to come", version, (400, 505), protocol=True)
    yield Row("no HTTP version", request(GOOD).replace(b" HTTP/1.1", b""), (400,), protocol=True, may_close=True)
    hostless = request(GOOD).replace(b"Host: 127.0.0.1\r\n", b"")
    yield Row("no Host", hostless, (400,), protocol=True)
    yield Row("two Hosts", request(GOOD, headers=(f"Host: {CANARY}",)), (400,), protocol=True)
    yield Row("a header without a colon", request(GOOD, headers=("canary7f3a",)), (400,), protocol=True)
    yield Row("a header without a name", request(GOOD, headers=(f": {CANARY}",)), (400,), protocol=True)
    yield Row("a space in a header's name", request(GOOD, headers=(f"X Y: {CANARY}",)), (400,), protocol=True)
    yield Row("NUL in a header", request(GOOD, headers=(f"X-A: {CANARY}\0",)), (400,), protocol=True)
    yield Row(
        "a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03canary7f3a\r\n\r\n", (400,), protocol=True
    )
    yield Row("binary rubbish", bytes(range(256)) + b"canary7f3a\r\n\r\n", (400,), protocol=True)
    yield Row("a cut request line", b"POST /canary7f3a", (400,), protocol=True, may_close=True, half_close=True)
    dead = request(GOOD[:20], length=len(GOOD))
    yield Row("a body cut by the client's death", dead, (400, 408), may_close=True, half_close=True)


def request_ids() -> Iterator[Row]:
    """An id that is not plain is replaced, never repeated; the request itself is refused for its missing model."""
    for name, ident in (
        ("a request id with spaces", f"a {CANARY}"),
        ("a request id of 129 bytes", CANARY + "x" * 119),
        ("a request id of 8 KB", CANARY * 800),
        ("a request id with high bytes", f"{CANARY}\xe9"),
        ("a request id with markup", f"<{CANARY}>"),
        ("a request id with a quote", f'"{CANARY}'),
    ):
        yield Row(name, request(b"{}", headers=(f"X-Request-ID: {ident}",)), (400,))
    broken = (f"X-Request-ID: a\r\nX-Injected: {CANARY}",)
    yield Row("a request id with a line end", request(b"{}", headers=broken), (400,))


ROWS = [
    row
    for group in (bodies, values, media_types, sizes, paths, methods, keys, smuggling, framing, request_ids)
    for row in group()
]
