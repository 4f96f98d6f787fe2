"""Errors: their status, and OpenAI's envelope on every one."""

from typing import Final

from ai_gateway.probe.check import Check
from ai_gateway.probe.judge import expect, rejected
from ai_gateway.probe.probe import CHAT, MODELS, NO_SUCH_MODEL, Probe
from ai_gateway.probe.reply import Reply
from ai_gateway.probe.verdict import Skipped

_WRONG_KEY = "sk-probe-wrong-0123456789"


async def _model(probe: Probe) -> None:
    rejected(await probe.chat(model=NO_SUCH_MODEL), 404, error_code="model_not_found")


async def _model_embeddings(probe: Probe) -> None:
    rejected(await probe.embed(model=NO_SUCH_MODEL), 404, error_code="model_not_found")


async def _model_completions(probe: Probe) -> None:
    rejected(await probe.complete(model=NO_SUCH_MODEL), 404, error_code="model_not_found")


async def _path(probe: Probe) -> None:
    rejected(await probe.get("/no/such/path"), 404)


async def _path_post(probe: Probe) -> None:
    rejected(await probe.send("POST", "/no-such-operation", b"{}"), 404)


async def _method(probe: Probe) -> None:
    reply = await probe.send("PATCH", MODELS, b"{}")
    rejected(reply, 404, 405)
    expect(reply.status == 404 or bool(reply.headers.get("allow")), "an Allow header with 405", dict(reply.headers))


async def _unauthorised(probe: Probe, authorization: str) -> Reply:
    if not probe.has_key:
        raise Skipped("no key was given, so it is unknown whether one is required")
    return await probe.send("GET", MODELS, None, authorization=authorization)


async def _no_key(probe: Probe) -> None:
    rejected(await _unauthorised(probe, ""), 401)


async def _wrong_key(probe: Probe) -> None:
    rejected(await _unauthorised(probe, f"Bearer {_WRONG_KEY}"), 401, error_code="invalid_api_key")


async def _secret(probe: Probe) -> None:
    reply = await _unauthorised(probe, f"Bearer {_WRONG_KEY}")
    expect(reply.status == 401, "status 401", reply)
    expect(_WRONG_KEY.encode() not in reply.body, "a refusal that does not quote the key", reply)


async def _challenge(probe: Probe) -> None:
    reply = await _unauthorised(probe, "")
    expect("bearer" in reply.headers.get("www-authenticate", "").lower(), "www-authenticate: Bearer", reply)


async def _key_first(probe: Probe) -> None:
    await _unauthorised(probe, "")
    rejected(await probe.send("POST", CHAT, b"{", authorization=""), 401)


CHECKS: Final = (
    Check("errors-model", "errors", "An unknown model, chat", "unknown-model", _model),
    Check("errors-model-embeddings", "errors", "An unknown model, embeddings", "unknown-model", _model_embeddings),
    Check("errors-model-completions", "errors", "An unknown model, completions", "unknown-model", _model_completions),
    Check("errors-path", "errors", "An unknown path", "ErrorResponse", _path),
    Check("errors-path-post", "errors", "An unknown operation", "ErrorResponse", _path_post),
    Check("errors-method", "errors", "A method that is not offered", "ErrorResponse", _method),
    Check("errors-no-key", "errors", "No key", "ErrorResponse", _no_key),
    Check("errors-wrong-key", "errors", "A wrong key", "ErrorResponse", _wrong_key),
    Check("errors-secret", "errors", "The wrong key is not quoted", "key-stays-secret", _secret),
    Check("errors-challenge", "errors", "401 names the authentication scheme", "http", _challenge),
    Check("errors-key-first", "errors", "The key is checked before the body", "http", _key_first),
)
