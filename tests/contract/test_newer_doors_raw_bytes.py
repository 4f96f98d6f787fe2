"""Bad bytes at the doors of responses and messages: refused in the words of each, never a 5xx or an echo."""

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.contract.raw_cases import CANARY, LIMIT, Row, request
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.raw_http import Answer, talk

RESPONSES, INPUT, COMPACT = (f"/custom/v1/responses{tail}" for tail in ("", "/input_tokens", "/compact"))
MESSAGES, TOKENS = (f"/custom/v1/messages{tail}" for tail in ("", "/count_tokens"))
SAID = [{"role": "user", "content": CANARY}]
BODIES: dict[str, dict[str, object]] = {
    RESPONSES: {"model": "custom-model", "input": CANARY, "store": False},
    INPUT: {"model": "custom-model", "input": CANARY},
    COMPACT: {"model": "custom-model", "input": CANARY},
    MESSAGES: {"model": "custom-model", "max_tokens": 20, "messages": SAID},
    TOKENS: {"model": "custom-model", "messages": SAID},
}


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
        yield Row(f"{path}: JSON cut short", sent(whole[:-2]), (400,))
        yield Row(f"{path}: two documents", sent(whole + whole), (400,))
        yield Row(f"{path}: NaN", sent(whole[:-1] + b',"canary7f3a":NaN}'), (400,))
        yield Row(f"{path}: a number too large", sent(whole[:-1] + b',"x":1e999}'), (400,))
        yield Row(f"{path}: 5,000 digits", sent(whole[:-1] + b',"x":' + b"9" * 5_000 + b"}"), (400,))
        yield Row(f"{path}: a lone surrogate", sent(whole[:-1] + b',"canary7f3a":"\\ud800"}'), (400,))
        yield Row(f"{path}: bad UTF-8", sent(whole[:-1] + b',"canary7f3a":"\xff"}'), (400,))
        yield Row(f"{path}: a byte order mark", sent(b"\xef\xbb\xbf" + whole), (400,))
        yield Row(f"{path}: UTF-16", sent(whole.decode().encode("utf-16")), (400,))
        yield Row(f"{path}: deep nesting", sent(whole[:-1] + b',"x":' + b"[" * 9_999 + b"]" * 9_999 + b"}"), (400,))
        yield Row(f"{path}: open arrays", sent(whole[:-1] + b',"x":' + b"[" * 100_000), (400,))
        yield Row(f"{path}: a model of the wrong type", sent(good(path, model=[CANARY])), (400,))
        yield Row(f"{path}: NUL in the model", sent(good(path, model=f"{CANARY}\0")), (400,))
        for kind in ("application/x-www-form-urlencoded", "text/plain", "application/jsonp", None):
            yield Row(f"{path}: {kind}", sent(whole, content_type=kind), (415,))
        yield Row(f"{path}: compressed", sent(whole, headers=("Content-Encoding: gzip",)), (415,))
        fat = json.dumps({**fields, "x": CANARY * (LIMIT // len(CANARY))}).encode()
        yield Row(f"{path}: too large", sent(fat), (413,))
        yield Row(f"{path}: declared too large", sent(b"{", length=100 * 2**20), (413,))
        yield Row(f"{path}: no key", sent(whole, key=None), (401,))
        yield Row(f"{path}: a wrong key", sent(whole, key=CANARY), (401,))
        yield Row(f"{path}: no key and broken JSON", sent(b"{canary7f3a", key=None), (401,))
        yield Row(f"{path}: PUT", request(whole, method="PUT", path=path), (404, 405))
        yield Row(f"{path}: a slash behind it", request(whole, path=f"{path}/"), (404, 405))


def values() -> Iterator[Row]:
    respond, write = partial(request, path=RESPONSES), partial(request, path=MESSAGES)
    item = {"type": CANARY, "content": "x"}
    yield Row("an unknown item", respond(good(RESPONSES, input=[item])), (400,), "input[0]")
    part = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 5}]}
    yield Row("a part with a wrong text", respond(good(RESPONSES, input=[part])), (400,), "input[0].content[0].text")
    orphan = {"type": "function_call_output", "call_id": CANARY, "output": "x"}
    yield Row("a result without its call", respond(good(RESPONSES, input=[orphan])), (400,))
    yield Row("a response before it", respond(good(RESPONSES, previous_response_id=f"resp_{CANARY}\r\n")), (400,))
    yield Row("NUL in a response before it", respond(good(RESPONSES, previous_response_id="resp_\0")), (400,))
    yield Row("stream as a text", respond(good(RESPONSES, stream="true")), (400,), "stream")
    yield Row("a format that is none", respond(good(RESPONSES, text={"format": {"type": CANARY}})), (400,))
    yield Row("no messages", write(b'{"model":"canary7f3a","max_tokens":5}'), (400,))
    yield Row("no limit", write(b'{"model":"canary7f3a","messages":[]}'), (400,))
    yield Row("an unknown role", write(good(MESSAGES, messages=[{"role": CANARY, "content": "x"}])), (400,))
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": f"{CANARY}!"}}
    yield Row(
        "an image that is none", write(good(MESSAGES, messages=[{"role": "user", "content": [block]}])), (200, 400)
    )
    yield Row("a limit as a text", write(good(MESSAGES, max_tokens="5")), (400,))
    yield Row("a limit below 0", write(good(MESSAGES, max_tokens=-1)), (400,))
    for tail in (
        f"<{CANARY}>",
        f"%0d%0a{CANARY}/input_items",
        f"a%00{CANARY}",
        f"..%2f{CANARY}",
        "x" * 5_000,
        "%ff%fe",
    ):
        path = f"/custom/v1/responses/{tail}"
        yield Row(f"GET {path[:60]}", request(method="GET", path=path), (400, 404, 414))
    yield Row("DELETE of another's", request(method="DELETE", path=f"/custom/v1/responses/{CANARY}%20"), (404,))
    yield Row("a cancelled stranger", request(b"", path=f"/custom/v1/responses/{CANARY}%22/cancel"), (404,))
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    yield Row("a WebSocket", request(method="GET", path=RESPONSES, headers=upgrade), (426,))


ROWS = [*bodies(), *values()]


@pytest.fixture(scope="module")
def strict_gateway(gateway_for: SharedGateways) -> LiveGateway:
    return gateway_for(REQUEST_MAX_SIZE=str(LIMIT), BODY_TIMEOUT_S="1")


def judge(row: Row, answer: Answer | None, *, is_anthropics: bool) -> None:
    assert answer is not None
    assert answer.status in row.statuses, answer.raw[:600]
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    if answer.status == 200:
        return
    assert CANARY.encode() not in answer.raw.lower(), "the input came back"
    said = json.loads(answer.body)
    if is_anthropics:
        assert said["type"] == "error"
        assert said["error"].keys() >= {"type", "message"}
        assert said["request_id"] == answer.headers["request-id"]
    else:
        assert said["error"].keys() >= {"message", "type", "param", "code"}
        if row.param:
            assert said["error"]["param"].startswith(row.param)
    if answer.status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if answer.status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_bad_bytes_are_refused_in_the_words_of_the_wire(strict_gateway: LiveGateway, row: Row) -> None:
    is_anthropics = b"/messages" in row.data.split(b"\r\n", 1)[0]
    judge(row, talk(strict_gateway, row.data), is_anthropics=is_anthropics)


def test_no_two_rows_have_one_name_and_there_are_enough() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names) >= 150


@pytest.mark.parametrize("path", BODIES)
def test_the_good_requests_that_the_rows_spoil_are_answered(strict_gateway: LiveGateway, path: str) -> None:
    answer = talk(strict_gateway, request(good(path), path=path))
    assert answer is not None
    assert answer.status == 200, answer.raw
