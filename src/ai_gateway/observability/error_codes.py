"""Which codes of errors are names for counts, and how the others are told."""

from functools import cache

from ai_gateway.errors import GatewayError

# Codes that are given where an error is made, and those of vendors that operators look for.
_FURTHER_CODES = (
    *("invalid_type", "invalid_value", "unknown_parameter"),
    "previous_response_not_found",
    *("default_project", "key_configured", "key_exists", "key_expired", "project_archived"),
    *("content_filter", "content_policy_violation", "context_length_exceeded", "string_above_max_length"),
)


@cache
def known_codes() -> frozenset[str]:
    """Every code that the gateway itself answers with, and the best known ones of upstreams.

    Whatever else an upstream says goes to its caller and into logs, but is no name for a count.
    """
    kinds, found = [GatewayError], set(_FURTHER_CODES)
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if (code := vars(kind).get("code")) is not None:
            found.add(code)
    return frozenset(found)


def counted_code(code: str | None) -> str:
    """How a code is told where it is counted: empty for none, `other` for one that an upstream made up."""
    return "" if code is None else code if code in known_codes() else "other"
