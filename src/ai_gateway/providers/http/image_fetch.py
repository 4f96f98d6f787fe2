"""Image URLs of one request: fetched concurrently, within the request's deadline and a common byte limit.

The first failure cancels the others, because the upstream is not called without all of them.
"""

import asyncio
import base64
from collections.abc import Mapping

import structlog

from ai_gateway.contract.budget import ByteBudget
from ai_gateway.errors import InvalidRequest, Unavailable
from ai_gateway.providers.http.egress import Egress, NotFetched, NotLookedUp

MAX_IMAGES = 16
MAX_BYTES = 40 * 1024 * 1024  # of all images of a request together
_log = structlog.get_logger(__name__)


async def fetch_all(egress: Egress, places: Mapping[str, str], provider: str, timeout_s: float) -> dict[str, str]:
    """Each image as base64 by its URL; `places` has the parameter of each URL. Raises InvalidRequest.

    Raises Unavailable if too many names are being looked up.
    A slow host was chosen by the caller, so it does not count against the provider.
    """
    if len(places) > MAX_IMAGES:
        raise InvalidRequest(f"At most {MAX_IMAGES} images are fetched for a request.", param="messages")
    budget = ByteBudget(MAX_BYTES)
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            tasks = {
                url: group.create_task(_image(egress, url, param, provider, budget)) for url, param in places.items()
            }
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    except TimeoutError:
        raise InvalidRequest(
            "The images could not be fetched in time: send them in data: URLs.", param="messages"
        ) from None
    return {url: task.result() for url, task in tasks.items()}


async def _image(egress: Egress, url: str, param: str, provider: str, budget: ByteBudget) -> str:
    try:
        fetched = await egress.image(url, budget)
    except NotLookedUp as error:
        _log.info("image not fetched", provider=provider, reason=str(error))
        raise Unavailable(
            "The image at this URL could not be fetched: the gateway is looking up as many names as it may. Send this "
            "again in a second, or the image in a data: URL.",
            param=param,
            headers={"retry-after": "1"},
        ) from None
    except NotFetched as error:
        _log.info("image not fetched", provider=provider, reason=str(error))
        message = "The image at this URL could not be fetched: send it in a data: URL."
        if budget.exceeded:
            message = f"The images of a request may have {MAX_BYTES // 2**20} MB together: send fewer, or smaller ones."
        raise InvalidRequest(message, param=param) from None
    return base64.b64encode(fetched.data).decode()
