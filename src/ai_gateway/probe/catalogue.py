"""All checks, in display order."""

from collections.abc import Sequence
from typing import Final

from ai_gateway.probe.check import Check
from ai_gateway.probe.checks import (
    bad_input,
    chat,
    completions,
    embeddings,
    headers,
    model_list,
    refusals,
    stream,
    structured,
    tools,
)

CHECKS: Final = (
    *model_list.CHECKS,
    *chat.CHECKS,
    *stream.CHECKS,
    *tools.CHECKS,
    *structured.CHECKS,
    *embeddings.CHECKS,
    *completions.CHECKS,
    *refusals.CHECKS,
    *headers.CHECKS,
    *bad_input.CHECKS,
)

GROUPS: Final = tuple(dict.fromkeys(check.group for check in CHECKS))


def of_groups(groups: Sequence[str]) -> tuple[Check, ...]:
    """The checks of these groups; all of them if none is named."""
    return tuple(check for check in CHECKS if not groups or check.group in groups)
