"""Response headers, and request headers that have to be accepted."""

import json
from functools import partial
from typing import Final

from ai_gateway.probe.check import Check
from ai_gateway.probe.judge import expect, success_json
from ai_gateway.probe.probe import CHAT, MODELS, NO_SUCH_MODEL, QUESTION, Probe, user
from ai_gateway.probe.reply import Reply
from ai_gateway.probe.verdict import Skipped

_ID = "x-request-id"
_CLIENT = {
    "accept": "application/json",
    "x_stainless_lang": "python",
    "x_stainless_retry_count": "0",
    "x_stainless_read_timeout": "600",
    "x_stainless_async": "false",
}


def _identified(reply: Reply) -> None:
    expect(bool(reply.headers.get(_ID, "").strip()), f"a header {_ID}", dict(reply.headers))


async def _id(probe: Probe) -> None:
    _identified(await probe.chat())


async def _id_list(probe: Probe) -> None:
    _identified(await probe.get(MODELS))


async def _id_stream(probe: Probe) -> None:
    _identified((await probe.stream()).reply)


async def _id_error(probe: Probe) -> None:
    _identified(await probe.chat(model=NO_SUCH_MODEL))


async def _ids_differ(probe: Probe) -> None:
    replies = [await probe.chat(), await probe.get(MODELS)]
    ids = [reply.headers.get(_ID, "") for reply in replies]
    expect(all(ids) and ids[0] != ids[1], f"another {_ID} for each reply", ids)


async def _json(probe: Probe) -> None:
    reply = await probe.chat()
    expect(reply.status == 200, "status 200", reply)
    expect(reply.media_type == "application/json", "application/json", reply)


async def _plain(probe: Probe) -> None:
    reply = await probe.chat()
    expect(reply.status == 200, "status 200", reply)
    coding = reply.headers.get("content-encoding", "identity")
    expect(coding == "identity", "no compression, since none is accepted", f"content-encoding: {coding}")


async def _post(probe: Probe, **headers: str) -> None:
    body = {"model": probe.model, "messages": [user(QUESTION)]}
    success_json(await probe.send("POST", CHAT, json.dumps(body).encode(), **headers))


_charset = partial(_post, content_type="application/json; charset=utf-8")


async def _client(probe: Probe) -> None:
    await _post(probe, **_CLIENT)


async def _scheme(probe: Probe) -> None:
    if not probe.client.key:
        raise Skipped("no key was given")
    success_json(await probe.get(MODELS, authorization=f"bearer {probe.client.key}"))


CHECKS: Final = (
    Check("headers-id", "headers", "A response has a request id", "request-id", _id),
    Check("headers-id-list", "headers", "So has the list of models", "request-id", _id_list),
    Check("headers-id-stream", "headers", "So has a stream", "request-id", _id_stream),
    Check("headers-id-error", "headers", "So has an error", "request-id", _id_error),
    Check("headers-id-own", "headers", "Request ids are unique", "request-id", _ids_differ),
    Check("headers-json", "headers", "Responses are application/json", "http", _json),
    Check("headers-plain", "headers", "No compression unless requested", "http", _plain),
    Check("headers-charset", "headers", "A charset in the request's content type is accepted", "http", _charset),
    Check("headers-client", "headers", "The headers of OpenAI's clients are accepted", "sdk-requests", _client),
    Check("headers-scheme", "headers", "The scheme of the key may be in lower case", "http", _scheme),
)
