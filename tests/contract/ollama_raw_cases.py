"""Bytes no well-meaning client of Ollama sends, and the statuses each may be answered with.

As in raw_cases.py; what is refused before a wire is known is tested there.
"""

import json
from collections.abc import Iterator
from functools import partial

from tests.contract.raw_cases import CANARY, LIMIT, Row, request

CHAT, GENERATE, EMBED, OLDER, SHOW = (f"/api/{name}" for name in ("chat", "generate", "embed", "embeddings", "show"))
BODIES: dict[str, dict[str, object]] = {
    CHAT: {"model": "custom-model", "messages": [{"role": "user", "content": CANARY}], "stream": False},
    GENERATE: {"model": "custom-model", "prompt": CANARY, "stream": False},
    EMBED: {"model": "custom-model", "input": CANARY},
    OLDER: {"model": "custom-model", "prompt": CANARY},
    SHOW: {"model": "custom-chat"},
}
ask = partial(request, path=CHAT)


def good(path: str, **fields: object) -> bytes:
    return json.dumps({**BODIES[path], **fields}).encode()


def bodies() -> Iterator[Row]:
    for path, fields in BODIES.items():
        sent = partial(request, path=path)
        whole = json.dumps(fields).encode()
        yield Row(f"{path}: no body", sent(b""), (400,))
        yield Row(f"{path}: white space", sent(b" \r\n"), (400,))
        yield Row(f"{path}: an array", sent(b'["canary7f3a"]'), (400,))
        yield Row(f"{path}: null", sent(b"null"), (400,))
        yield Row(f"{path}: an empty object", sent(b"{}"), (400,))
        yield Row(f"{path}: JSON cut short", sent(whole[:-2]), (400,))
        yield Row(f"{path}: two documents", sent(whole + whole), (400,))
        yield Row(f"{path}: NaN", sent(whole[:-1] + b',"canary7f3a":NaN}'), (400,))
        yield Row(f"{path}: a number too large", sent(whole[:-1] + b',"x":1e999}'), (400,))
        yield Row(f"{path}: a lone surrogate", sent(whole[:-1] + b',"canary7f3a":"\\ud800"}'), (400,))
        yield Row(f"{path}: bad UTF-8", sent(whole[:-1] + b',"canary7f3a":"\xff"}'), (400,))
        yield Row(f"{path}: a byte order mark", sent(b"\xef\xbb\xbf" + whole), (400,))
        yield Row(f"{path}: UTF-16", sent(whole.decode().encode("utf-16")), (400,))
        yield Row(f"{path}: deep nesting", sent(whole[:-1] + b',"x":' + b"[" * 9_999 + b"]" * 9_999 + b"}"), (400,))
        yield Row(f"{path}: a model of the wrong type", sent(good(path, model=[CANARY])), (400,))
        yield Row(f"{path}: an empty model", sent(good(path, model="")), (400,))
        yield Row(f"{path}: NUL in the model", sent(good(path, model=f"{CANARY}\0")), (400,))
        yield Row(
            f"{path}: a form", sent(b"model=canary7f3a", content_type="application/x-www-form-urlencoded"), (400,)
        )
        yield Row(f"{path}: compressed", sent(whole, headers=("Content-Encoding: gzip",)), (415,))
        origin = ("Origin: https://canary7f3a.example",)
        yield Row(f"{path}: a web page's text", sent(whole, content_type="text/plain", headers=origin), (415,))
        yield Row(f"{path}: a web page's nothing", sent(whole, content_type=None, headers=origin), (415,))
        fat = json.dumps({**fields, "x": CANARY * (LIMIT // len(CANARY))}).encode()
        yield Row(f"{path}: too large", sent(fat), (413,))
        yield Row(f"{path}: declared too large", sent(b"{", length=100 * 2**20), (413,))
        yield Row(f"{path}: no key", sent(whole, key=None), (401,))
        yield Row(f"{path}: a wrong key", sent(whole, key=CANARY), (401,))
        yield Row(f"{path}: no key and broken JSON", sent(b"{canary7f3a", key=None), (401,))


def values() -> Iterator[Row]:
    yield Row("messages of the wrong type", ask(good(CHAT, messages=CANARY)), (400,))
    yield Row("an unknown role", ask(good(CHAT, messages=[{"role": CANARY, "content": "x"}])), (400,))
    yield Row("content in parts", ask(good(CHAT, messages=[{"role": "user", "content": [{"text": CANARY}]}])), (400,))
    image = [{"role": "user", "content": "x", "images": [f"{CANARY}!"]}]
    yield Row("an image that is no base64", ask(good(CHAT, messages=image)), (400,))
    link = [{"role": "user", "content": "x", "images": [f"https://{CANARY}/a.png"]}]
    yield Row("an image elsewhere", ask(good(CHAT, messages=link)), (400,))
    calls = [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": CANARY}}]}]
    yield Row("arguments as a text", ask(good(CHAT, messages=calls)), (400,))
    yield Row("an unknown format", ask(good(CHAT, format=CANARY)), (400,))
    yield Row("an unknown way to think", ask(good(CHAT, think=CANARY)), (400,))
    yield Row("stream as a text", ask(good(CHAT, stream="false")), (400,))
    yield Row("a temperature as a text", ask(good(CHAT, options={"temperature": CANARY})), (400,))
    yield Row("options as a list", ask(good(CHAT, options=[CANARY])), (400,))
    yield Row("21 alternatives", ask(good(CHAT, logprobs=True, top_logprobs=21)), (400,))
    yield Row("a million dimensions", request(good(EMBED, dimensions=10**6), path=EMBED), (400,))
    yield Row("numbers to embed", request(good(EMBED, input=[1, 2]), path=EMBED), (400,))
    yield Row("a template", request(good(GENERATE, template=CANARY), path=GENERATE), (400,))
    yield Row("a context", request(good(GENERATE, context=[1]), path=GENERATE), (400,))
    yield Row("raw with a system prompt", request(good(GENERATE, raw=True, system=CANARY), path=GENERATE), (400,))
    yield Row("a model that fails", ask(good(CHAT, model="fault-model-not-found")), (404,))
    odd = f"no such\r\n<{CANARY}>"
    yield Row("an odd name", ask(good(CHAT, model=odd)), (200,))


def paths() -> Iterator[Row]:
    for path in ("/api", "/api/", f"/api/{CANARY}", "/api/chat/", "/api/tags/x", "/api//chat", "/api/blobs/"):
        yield Row(f"GET {path}", request(method="GET", path=path), (404, 405))
    for path in BODIES:
        yield Row(f"GET {path}", request(method="GET", path=path), (405,))
        yield Row(f"PUT {path}", request(good(path), method="PUT", path=path), (405,))
    yield Row("POST tags", request(b"{}", path="/api/tags"), (405,))
    yield Row("TRACE", request(method="TRACE", path=CHAT), (405,))
    many = tuple(f"X-H{i}: {CANARY}" for i in range(101))
    yield Row("101 headers", ask(good(CHAT), headers=many), (431,))
    for name in ("pull", "push", "create", "copy"):
        yield Row(name, request(b'{"model":"canary7f3a"}', path=f"/api/{name}"), (501,))
        yield Row(f"{name} without a key", request(b"{}", path=f"/api/{name}", key=None), (401,))
    yield Row("delete", request(method="DELETE", path="/api/delete"), (501,))
    yield Row("a blob", request(b"canary7f3a", path=f"/api/blobs/sha256:{CANARY}"), (501,))
    yield Row("NUL in a digest", request(b"", path=f"/api/blobs/a%00{CANARY}"), (400,))


ROWS = [row for group in (bodies, values, paths) for row in group()]
