"""Pages of lists by OpenAI's cursors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ai_gateway.accounts.entities import Entity
from ai_gateway.errors import InvalidRequest

type Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class Page[Item]:
    """Consecutive items of a list, and whether more follow in the requested direction.

    Nothing follows a page of nothing: there is no item to go on from, and a client would ask for it for ever.
    """

    items: Sequence[Item]
    has_more: bool


def page[Item](  # noqa: PLR0913 - what a cursor may be
    items: Sequence[Item],
    identify: Callable[[Item], str],
    limit: int,
    after: str | None,
    before: str | None = None,
    *,
    is_shown: Callable[[Item], bool] = lambda _: True,
) -> Page[Item]:
    """The items next to a cursor: the first after it, or the last before it. Raises InvalidRequest.

    A hidden item is still a valid cursor: clients delete items that they have just listed.
    """
    first, end = 0, len(items)
    if after:
        first = _place(items, identify, "after", after) + 1
    if before:
        end = _place(items, identify, "before", before)
    found = [item for item in items[first:end] if is_shown(item)]
    cut = found[-limit:] if before and not after and limit else found[:limit]
    return Page(cut, has_more=0 < len(cut) < len(found))


def by_time[E: Entity](entities: Iterable[E], made: Callable[[E], int], order: Order = "asc") -> list[E]:
    """The entities by creation time, then by id."""
    return sorted(entities, key=lambda entity: (made(entity), entity.id), reverse=order == "desc")


def _place[Item](items: Sequence[Item], identify: Callable[[Item], str], name: str, cursor: str) -> int:
    for index, item in enumerate(items):
        if identify(item) == cursor:
            return index
    raise no_place(name)


def no_place(name: str) -> InvalidRequest:
    """The error for a cursor: the same whether its item never existed or belongs to another."""
    return InvalidRequest(
        f"Invalid '{name}': nothing in this list has the id that it names.", param=name, code="invalid_value"
    )
