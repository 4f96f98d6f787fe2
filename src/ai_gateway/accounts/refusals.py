"""Rate limits as callers see them: the `x-ratelimit-*` headers, and the errors of refused calls."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from math import ceil

from ai_gateway.accounts.counters.base import Refused
from ai_gateway.accounts.holds import RATE_LIMIT_HEADERS, Held, Kind, Reason, Reported
from ai_gateway.accounts.limits import Scope
from ai_gateway.contract.call import OwnText
from ai_gateway.errors import RETRY_HINT, InsufficientQuota, ModelNotAllowed, ModelNotPriced, RateLimited
from ai_gateway.observability.metrics import Event, count

_UNITS = {"requests": "requests", "tokens": "tokens", "parallel": "parallel requests"}


def limit_headers(held: Held, left: Sequence[int], resets: Sequence[float]) -> dict[str, str]:
    """`x-ratelimit-*` as OpenAI sends them: for each kind, the limit that is nearest to being reached."""
    headers: dict[str, str] = {}
    for at, (limit, remaining, reset), text in _nearest(held, left) if held.reported is None else held.reported:
        headers[limit] = text
        headers[remaining] = OwnText(left[at])
        headers[reset] = duration(resets[at])
    return headers


def limit_lines(held: Held, left: Sequence[int], resets: Sequence[float]) -> str:
    """The same as lines of a head."""
    if held.lines is None:
        return "".join([f"{name}: {value}\r\n" for name, value in limit_headers(held, left, resets).items()])
    text = ""
    for at, begin, middle in held.lines:
        seconds = resets[at]
        end = _end(ceil(seconds)) if seconds >= 1 else str(duration(seconds)) + "\r\n"
        text = f"{text}{begin}{left[at]}{middle}{end}"
    return text


@lru_cache
def _end(seconds: int) -> str:
    return str(_whole(seconds)) + "\r\n"


def _nearest(held: Held, left: Sequence[int]) -> Sequence[Reported]:
    nearest: dict[Kind, tuple[int, int, int]] = {}
    for at, (hold, reason, rest) in enumerate(zip(held.holds, held.reasons, left, strict=True)):
        this = rest, hold.limit, at
        known = nearest.setdefault(reason.kind, this)
        if this < known:
            nearest[reason.kind] = this
    return [
        (at, RATE_LIMIT_HEADERS[kind], OwnText(limit))
        for kind, (_, limit, at) in nearest.items()
        if kind in RATE_LIMIT_HEADERS
    ]


def limited(held: Held, refused: Refused, model: str, now: float) -> RateLimited:
    """The error of a call that exceeds a limit."""
    reason = held.reasons[held.holds.index(refused.hold)]
    count(Event.LIMITED, reason.kind, reason.scope.what)
    headers = limit_headers(held, refused.left, refused.resets)
    if reason.kind == "money":
        return _no_money(reason, refused, now, headers)
    if refused.fits_in is not None:
        headers["retry-after"] = str(max(1, math.ceil(refused.fits_in)))
        headers["retry-after-ms"] = str(max(1, math.ceil(refused.fits_in * 1000)))
    hold = refused.hold
    per = f" per {reason.per}" if reason.per else ""
    where = f" for {model}" if reason.model != "*" else ""
    if hold.amount > hold.limit:  # waiting does not help
        headers[RETRY_HINT] = "false"
        if reason.kind != "tokens":
            return RateLimited(
                f"No requests are allowed{where} in {_called(reason.scope)}: it has a limit of {hold.limit} "
                f"{_UNITS[reason.kind]}{per}. An administrator can raise it.",
                headers=headers,
            ).changed(type="requests")
        return RateLimited(
            f"Request too large{where} in {_called(reason.scope)} on {_UNITS[reason.kind]}{per}: Limit {hold.limit}, "
            f"Requested {hold.amount}. Send fewer tokens, or ask for fewer (max_completion_tokens).",
            headers=headers,
        ).changed(type=reason.kind)
    wait = f"Try again in {duration(refused.fits_in)}." if refused.fits_in is not None else "Wait until one ends."
    if reason.kind == "parallel":
        headers["retry-after"] = "1"
    return RateLimited(
        f"Rate limit reached{where} in {_called(reason.scope)} on {_UNITS[reason.kind]}{per}: Limit {hold.limit}, "
        f"Used {refused.used + refused.held}, Requested {hold.amount}. {wait}",
        headers=headers,
    ).changed(type="tokens" if reason.kind == "tokens" else "requests")


def model_not_allowed(scope: Scope, model: str) -> ModelNotAllowed:
    """The error for a model that a key or project may not use."""
    return ModelNotAllowed(
        f"{_called(scope).capitalize()} does not have access to model `{model}`.",
        param="model",
    )


def unpriced(scope: Scope, model: str) -> ModelNotPriced:
    """The error for a model without a price, under a spend limit."""
    return ModelNotPriced(
        f"Model `{model}` has no known price, and {_called(scope)} has a spend limit: the gateway's operator has to "
        "set its price in [prices], or UNPRICED=allow.",
        param="model",
    )


def duration(seconds: float) -> OwnText:
    """A duration in OpenAI's notation: `1s`, `6m0s`, `20ms`, `1h2m3s`."""
    return _whole(math.ceil(seconds)) if seconds >= 1 else OwnText(f"{max(0, math.ceil(seconds * 1000))}ms")


@lru_cache
def _whole(seconds: int) -> OwnText:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return OwnText(f"{hours}h{minutes}m{rest}s")
    return OwnText(f"{minutes}m{rest}s" if minutes else f"{rest}s")


def usd(amount: int) -> str:
    """An amount of 1e-12 USD with at least its cents."""
    cents, rest = divmod(amount, 10**10)
    if not rest:
        return f"${Decimal(cents).scaleb(-2):f}"
    return f"${Decimal(amount).scaleb(-12).normalize():f}"


def _no_money(reason: Reason, refused: Refused, now: float, headers: dict[str, str]) -> InsufficientQuota:
    hold = refused.hold
    ends = f"It resets at {datetime.fromtimestamp(hold.until, UTC):%Y-%m-%dT%H:%M:%SZ}." if hold.until else ""
    frees = hold.amount <= hold.limit - refused.used
    if frees:
        headers["retry-after"] = "1"  # calls in flight will cost less than they have reserved
    else:
        headers[RETRY_HINT] = "false"
        if hold.until:
            headers["retry-after"] = str(max(1, math.ceil(hold.until - now)))
    advice = "Wait for calls in flight to end, or ask for fewer tokens (max_completion_tokens)." if frees else ""
    per = "in total" if reason.per == "total" else f"per {reason.per}"
    sentences = (
        f"You exceeded your current quota: {_called(reason.scope)} has a spend limit of {usd(hold.limit)} {per}.",
        f"Spent {usd(refused.used)}, reserved {usd(refused.held)}, this request can cost up to {usd(hold.amount)}.",
        ends,
        advice,
    )
    return InsufficientQuota(" ".join(filter(None, sentences)), headers=headers)


def _called(scope: Scope) -> str:
    return "the organization" if scope.what == "organization" else f"{scope.what} {scope.entity}"
