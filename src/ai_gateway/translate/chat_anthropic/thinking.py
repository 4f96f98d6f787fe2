"""`reasoning_effort` as the thinking options of the Messages API."""

import re

from ai_gateway.errors import UnsupportedValue

# Up to Claude 4.5, thinking has a token budget (docs.anthropic.com "Extended thinking"); later models take an effort
# ("Adaptive thinking"). No more models of the first kind will come, so an unknown name is of the second.
_BUDGETED = re.compile(
    r"claude-(?:instant|[123](?![0-9])|4-(?:opus|sonnet)|(?:opus|sonnet|haiku)-4(?:-[015](?![0-9])|-20[0-9]{6}|@|$))"
)
LEAST_BUDGET = 1_024
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.9, "max": 0.95}


def has_budget(model: str) -> bool:
    """Whether the model's thinking has a token budget instead of an effort."""
    return _BUDGETED.search(model) is not None


def budgeted(effort: str, max_tokens: int) -> dict[str, object]:
    """Thinking with a share of `max_tokens` as its budget. Raises UnsupportedValue for too few tokens."""
    if max_tokens <= LEAST_BUDGET:
        raise UnsupportedValue(
            f"Thinking takes more than {LEAST_BUDGET} tokens: raise `max_completion_tokens`, or set "
            "`reasoning_effort` to none.",
            param="reasoning_effort",
        )
    budget = max(LEAST_BUDGET, int(max_tokens * _SHARES[effort]))  # below max_tokens, as the API requires
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def by_effort(effort: str, *, forced: bool) -> dict[str, object]:
    """Adaptive thinking, summarised. A `forced` tool call rules thinking out, but the effort still applies."""
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    fields: dict[str, object] = {"output_config": {"effort": "low" if effort == "minimal" else effort}}
    return fields if forced else {"thinking": {"type": "adaptive", "display": "summarized"}, **fields}
