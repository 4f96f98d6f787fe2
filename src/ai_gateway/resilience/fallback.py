"""Try targets one after the other, as long as what went wrong is not the caller's to mend and nothing has been sent."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import structlog

from ai_gateway.contract.call import Call
from ai_gateway.errors import GatewayError

ATTEMPTS_HEADER = "x-gateway-attempts"
_WAIT_HEADERS = ("retry-after", "retry-after-ms")
_log = structlog.get_logger(__name__)


def passes_on(error: GatewayError) -> bool:
    """Whether another target may do better: it is at its limit, too slow, out of reach, broken, or guarded."""
    return error.status == 429 or error.status >= 500


class Attempts:
    """What has been tried for one call. Each attempt begins with the headers that the call had before the first."""

    def __init__(self, call: Call, targets: int) -> None:
        self._call = call
        self._targets = targets
        self._headers = dict(call.reply_headers)
        self._made = 0
        self._wait: dict[str, str] = {}

    def begin(self) -> None:
        """The next target is about to be asked."""
        self._made += 1
        self._call.begin_again({**self._headers, ATTEMPTS_HEADER: str(self._made)})

    def failed(self, error: GatewayError) -> None:
        """Take note of a failure. Raises it when it is the caller's to mend, or when there is nobody left to ask."""
        if not passes_on(error):
            raise error
        _log.warning(
            "target failed",
            request_id=self._call.request_id,
            attempt=self._made,
            of=self._targets,
            provider=self._call.reply_headers.get("x-gateway-provider"),
            code=error.code,
            reason=error.message,
            detail=error.detail,
        )
        if error.status == 429:
            self._wait = {name: error.headers[name] for name in _WAIT_HEADERS if name in error.headers}
        if self._made < self._targets:
            return
        error.message = f"{error.message} All {self._made} targets of this model were tried; this was the last."
        error.headers = {**self._wait, **error.headers}
        raise error


async def first_reply[Target, Reply](
    call: Call, targets: Sequence[Target], ask: Callable[[Target], Awaitable[Reply]]
) -> Reply:
    """The reply of the first target that gives one. Raises what the last one raised."""
    attempts = Attempts(call, len(targets))
    for target in targets:
        attempts.begin()
        try:
            return await ask(target)
        except GatewayError as error:
            attempts.failed(error)
    raise AssertionError("unreachable: the last failure is raised")


async def first_stream[Target, Item](
    call: Call, targets: Sequence[Target], ask: Callable[[Target], AsyncGenerator[Item]]
) -> AsyncGenerator[Item]:
    """The stream of the first target that gives a first item; from then on its failures are the caller's to see."""
    attempts = Attempts(call, len(targets))
    for target in targets:
        attempts.begin()
        async with aclosing(ask(target)) as items:
            try:
                first = await anext(items, None)
            except GatewayError as error:
                attempts.failed(error)
                continue
            if first is not None:
                yield first
            async for item in items:
                yield item
            return
