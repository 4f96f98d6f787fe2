"""Error codes as metric labels: the known ones by name, all others as `other`."""

from functools import cache

from ai_gateway.errors import GatewayError

# Codes that are set where an error is raised, and those of vendors that operators look for.
_FURTHER_CODES = (
    *("invalid_type", "invalid_value", "unknown_parameter"),
    "previous_response_not_found",
    *("default_project", "key_configured", "key_exists", "key_expired", "project_archived"),
    *("content_filter", "content_policy_violation", "context_length_exceeded", "string_above_max_length"),
)


@cache
def known_codes() -> frozenset[str]:
    """Every error code of the gateway itself, and the most frequent ones of upstreams.

    Other codes of upstreams are passed on to callers and logged, but are no metric labels.
    """
    kinds, found = [GatewayError], set(_FURTHER_CODES)
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if (code := vars(kind).get("code")) is not None:
            found.add(code)
    return frozenset(found)


def counted_code(code: str | None) -> str:
    """The metric label of a code: empty for none, `other` for an unknown code of an upstream."""
    return "" if code is None else code if code in known_codes() else "other"
