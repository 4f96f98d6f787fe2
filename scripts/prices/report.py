"""What a new table changes, in the terms of those who pay: which models come and go, and from what price to what."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from ai_gateway.accounts.price import SEARCHES
from ai_gateway.accounts.price_table import PriceTable, Row

_SHOWN = 12


def report(before: PriceTable | None, after: PriceTable, left: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Lines, the important ones last."""
    old, new = _resolved(before) if before is not None else {}, _resolved(after)
    for reason, names in sorted(left.items()):
        yield f"not taken, {len(names)}: {reason}: {_some(names)}"
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    yield f"{before.basis if before is not None else 'no table'} -> {after.basis}: {len(new)} ids"
    yield f"models added: {len(added)}{': ' if added else ''}{_some(added)}"
    for name in removed:
        yield f"model removed: {name}, which was {_described(old[name][-1])}"
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield from _changes(name, old[name], new[name])


def _resolved(table: PriceTable) -> dict[str, list[Row]]:
    entries = table.entries()
    found = {}
    for name, rows in entries.items():
        source = entries[rows] if isinstance(rows, str) else rows
        if not isinstance(source, str):
            found[name] = source
    return found


def _changes(name: str, old: list[Row], new: list[Row]) -> Iterator[str]:
    """A line for each date at which what holds from then on is another than it was."""
    dates = sorted({row.get("since", "") for row in (*old, *new)})
    for date in dates:
        was, now = (next(row for row in reversed(rows) if row.get("since", "") <= date) for rows in (old, new))
        if _described(was) != _described(now):
            yield f"price changed: {name}{f' from {date} on' if date else ''}: {_described(was)} -> {_described(now)}"


def _described(row: Row) -> str:
    """USD for a million tokens, by class, and for a thousand searches."""
    per = row.get("per", 1)
    parts = [_rates(row["rates"], per)]
    parts += [f"above {start} tokens {_rates(rates, per)}" for start, rates in row.get("above", ())]
    parts += [f"tier {name} {_described(tier)}" for name, tier in sorted(row.get("tiers", {}).items())]
    parts += [
        f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02} {_described(other)}"
        for start, end, other in row.get("hours", ())
    ]
    return "; ".join(parts)


def _rates(rates: Mapping[str, int], per: int) -> str:
    return ", ".join(
        f"{name} {(Decimal(value) / per).scaleb(-9 if name == SEARCHES else -6).normalize():f}"
        for name, value in rates.items()
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join([*names[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])
