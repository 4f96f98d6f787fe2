"""How much the model thinks before it answers: `reasoning_effort` in terms of the Messages API."""

import re

from ai_gateway.errors import UnsupportedValue

# Up to Claude 4.5, thinking has a budget of tokens; every later model judges for itself and takes an effort. The first
# kind is history, so its names can be listed; a name that nobody knows is of the second.
_BUDGETED = re.compile(
    r"claude-(?:instant|[123](?![0-9])|4-(?:opus|sonnet)|(?:opus|sonnet|haiku)-4(?:-[015](?![0-9])|-20[0-9]{6}|@|$))"
)
LEAST_BUDGET = 1_024
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.9, "max": 0.95}


def has_budget(model: str) -> bool:
    """Whether the model thinks within a budget of tokens instead of by effort."""
    return _BUDGETED.search(model) is not None


def budgeted(effort: str, max_tokens: int) -> dict[str, object]:
    """Thinking within a share of the tokens that the whole answer may have. Raises UnsupportedValue for too few."""
    if max_tokens <= LEAST_BUDGET:
        raise UnsupportedValue(
            f"Thinking takes more than {LEAST_BUDGET} tokens: raise `max_completion_tokens`, or set "
            "`reasoning_effort` to none.",
            param="reasoning_effort",
        )
    budget = max(LEAST_BUDGET, int(max_tokens * _SHARES[effort]))  # less than all of them, as every share is
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def by_effort(effort: str, *, forced: bool) -> dict[str, object]:
    """Thinking as the model sees fit, told in summary. A call that is `forced` leaves it no room, but effort counts."""
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    fields: dict[str, object] = {"output_config": {"effort": "low" if effort == "minimal" else effort}}
    return fields if forced else {"thinking": {"type": "adaptive", "display": "summarized"}, **fields}
