"""Common options of commands, and parsers of their values: times, amounts, limits."""

import re
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated

import typer

NO_LIMIT = "none"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_DURATION = re.compile(r"([0-9]{1,10})([smhdwy])")
_MAX_CENTS = 900_000_000


class Interval(StrEnum):
    """The interval of a budget."""

    day = "day"
    week = "week"
    month = "month"
    total = "total"


def seconds(text: str) -> int:
    """The seconds of a time such as `30d`. Raises typer.BadParameter."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or not 0 <= (found := int(match[1]) * _UNITS_S[match[2]]) <= 100 * _UNITS_S["y"]:
        raise typer.BadParameter(f"{text!r} is no time: write a number and s, m, h, d, w or y, such as 30d")
    return found


def cents(text: str) -> int:
    """The cents of an amount of USD such as `5.00`. Raises typer.BadParameter."""
    try:
        amount = Decimal(text.strip().removeprefix("$")) * 100
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount != amount.to_integral_value() or not 1 <= amount <= _MAX_CENTS:
        raise typer.BadParameter(
            f"{text!r} is no amount: write USD with at most two decimal places, from 0.01 to 9000000, such as 5.00"
        )
    return int(amount)


def number(text: str) -> int | None:
    """The number of a limit, None for `none`. Raises typer.BadParameter."""
    if text == NO_LIMIT:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise typer.BadParameter(f"{text!r} is no limit: write a whole number, or {NO_LIMIT} to take it away")
    return int(text)


def count(text: str) -> int:
    """A positive number. Raises typer.BadParameter."""
    found = number(text)
    if found is None:
        raise typer.BadParameter("to have no limit, leave the option out")
    return found


Host = Annotated[str | None, typer.Option(help="Address to listen on [SERVICE_HOST, default 127.0.0.1].")]
Port = Annotated[int | None, typer.Option(help="Port to listen on, 0 for any [SERVICE_PORT, default 9000].")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error [LOG_LEVEL].")]
Workers = Annotated[int | None, typer.Option(help="Processes that serve [WORKERS, default 1].")]
Url = Annotated[
    str | None,
    typer.Option(
        help="Address of a running gateway to administer, such as https://gateway.example.com; else the store "
        "of this machine.",
        show_default=False,
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option(
        envvar="ADMIN_API_KEY", show_envvar=True, show_default=False, help="An administrator's key, for --url."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the Administration API has it.")]
Project = Annotated[
    str | None, typer.Option(metavar="PROJECT", help="A project, by its name or id.", show_default=False)
]
Key = Annotated[
    str | None, typer.Option(metavar="KEY", help="A key, by its owner's name or its id.", show_default=False)
]
Expires = Annotated[
    int | None, typer.Option(parser=seconds, metavar="TIME", help="How long it works, such as 30d [for ever].")
]
Budget = Annotated[
    int | None, typer.Option(parser=cents, metavar="USD", help="What it may spend in each interval, such as 5.00.")
]
Per = Annotated[
    Interval | None, typer.Option(help="How long the budget has to last, from the first day of each on [month].")
]
Zone = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Time zone in which an interval begins, such as Europe/Berlin [UTC].")
]
Models = Annotated[
    str | None,
    typer.Option(metavar="MODELS", help="Models that it may call, between commas [all].", show_default=False),
]
