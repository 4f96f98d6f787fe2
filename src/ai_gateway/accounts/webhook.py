"""Webhooks as Standard Webhooks describes them, which OpenAI's SDKs verify: https://www.standardwebhooks.com."""

import base64
import binascii
import hmac
import time

from yarl import URL

from ai_gateway.accounts.delivery import PATIENCE_S, NotDelivered
from ai_gateway.config.constants import VERSION
from ai_gateway.providers.http.errors import CLIENT_FAILURES
from ai_gateway.providers.http.single import opened

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
# Of the reply only the status counts; so much of an error is read for the log.
_READ = 4 * 1024
_QUOTED = 200


def signing_key(secret: str) -> bytes:
    """What a secret signs with: base64 after its prefix or, without one, its characters. Raises ValueError."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError(f"what comes after {SECRET_PREFIX} has to be base64")
    return key


def signature(secret: str, identifier: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    signed = b"%s.%d.%s" % (identifier.encode(), timestamp, body)
    return f"v1,{base64.b64encode(hmac.digest(signing_key(secret), signed, 'sha256')).decode()}"


async def post(url: str, secret: str, identifier: str, body: bytes) -> None:
    """Deliver an event: any 2xx is its receipt, and redirects are not followed. Raises NotDelivered."""
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"ai-gateway/{VERSION}",
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
    }
    try:
        headers["webhook-signature"] = signature(secret, identifier, timestamp, body)
        async with opened(URL(url), headers, PATIENCE_S, body=body) as reply:
            if 200 <= reply.status < 300:
                return
            if 300 <= reply.status < 400:
                raise NotDelivered(f"answered with a redirect ({reply.status}), which is not followed")
            said = (await reply.whole(_READ) or b"")[:_QUOTED].decode("utf-8", "replace")
            raise NotDelivered(f"answered with status {reply.status}{': ' if said else ''}{said}")
    except TimeoutError as error:
        raise NotDelivered("did not answer in time") from error
    except (*CLIENT_FAILURES, ValueError) as error:
        raise NotDelivered(f"cannot be called: {type(error).__name__}: {error}") from error
