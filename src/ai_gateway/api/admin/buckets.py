"""Time buckets of usage queries, page by page."""

import base64
import binascii
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from ai_gateway.accounts.ledger_rows import DAY, HOUR
from ai_gateway.accounts.usage import MINUTE, WHOLE, Bucket
from ai_gateway.errors import InvalidRequest

_WIDTHS = {"1m": MINUTE, "1h": HOUR, "1d": DAY, "all": WHOLE}
# Default and maximum number of buckets on a page, by their width: platform.openai.com "Usage", `limit`.
_LIMITS = {MINUTE: (60, 1440), HOUR: (24, 168), DAY: (7, 31), WHOLE: (1, 1)}
_COSTS_LIMITS = (7, 180)
_PREFIX = "page_"
_PICO = 10**12


@dataclass(frozen=True, slots=True)
class Part:
    """The time of one page, and the cursor of the next one; None where there is none."""

    start: int
    end: int
    width: int
    next_page: str | None


def part_of_time(  # noqa: PLR0913 - what every such query has
    start: int, end: int | None, width: str, limit: int | None, page: str | None, *, costs: bool = False
) -> Part:
    """The requested page: whole buckets, the first of which contains the start. Raises InvalidRequest."""
    size = _WIDTHS[width]
    default, most = _COSTS_LIMITS if costs else _LIMITS[size]
    count = default if limit is None else limit
    if count > most:
        raise InvalidRequest(
            f"Invalid 'limit': there are at most {most} buckets of {width} on a page.",
            param="limit",
            code="invalid_value",
        )
    step = size or HOUR
    first = start // step * step
    last = -(-(int(time.time()) + 1 if end is None else end) // step) * step
    if end is not None and end < start:
        raise InvalidRequest(
            "Invalid 'end_time': it has to be after 'start_time'.", param="end_time", code="invalid_value"
        )
    if end == start:
        last = first
    if page:
        first = _read(page, first, last, step)
    stop = last if size == WHOLE else min(last, first + count * size)
    if size == WHOLE and not count:
        stop = first
    has_more = first < stop < last  # an empty page would be followed by itself
    return Part(first, max(stop, first), size, cursor(stop) if has_more else None)


def cursor(*place: int | str) -> str:
    """An opaque cursor for a place."""
    return _PREFIX + base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def place_of(page: str) -> Sequence[object]:
    """The place of a cursor. Raises InvalidRequest."""
    try:
        if not page.startswith(_PREFIX):
            raise ValueError(page)  # noqa: TRY301 - as below
        text = page.removeprefix(_PREFIX).encode()
        place = orjson.loads(base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise _no_page() from None
    return place if isinstance(place, list) else [place]


def _read(page: str, first: int, last: int, step: int) -> int:
    place = place_of(page)
    if len(place) != 1 or not isinstance(at := place[0], int) or at % step or not first <= at <= last:
        raise _no_page()
    return at


def _no_page() -> InvalidRequest:
    return InvalidRequest(
        "Invalid 'page': give the 'next_page' of a page of the same query.", param="page", code="invalid_value"
    )


def usd(cost: int | None) -> orjson.Fragment | None:
    """An amount of 1e-12 USD as the digits of a JSON number: as a float, it would not be exact."""
    return orjson.Fragment(decimal(cost)) if cost is not None else None


def decimal(cost: int) -> str:
    """An amount of 1e-12 USD as people write it."""
    whole, part = divmod(cost, _PICO)
    return f"{whole}.{part:012}".rstrip("0").rstrip(".")


def page_of[Summed](
    buckets: Sequence[Bucket[Summed]], results: Sequence[Sequence[Mapping[str, object]]], part: Part
) -> bytes:
    """A page of buckets, each with its results."""
    data = [
        {"object": "bucket", "start_time": bucket.start, "end_time": bucket.end, "results": found}
        for bucket, found in zip(buckets, results, strict=True)
    ]
    more = part.next_page is not None
    return orjson.dumps({"object": "page", "data": data, "has_more": more, "next_page": part.next_page})
