"""Whether an upstream's counts can be any: bills and budgets are made of them."""

from pydantic import BaseModel

# The largest whole number that every reader of JSON keeps exactly (RFC 8259, section 6).
_MOST = 2**53 - 1


def can_be_counts(usage: object) -> bool:
    """Whether no count among these is negative or too large to be one; details are counts as well."""
    return not isinstance(usage, BaseModel) or all(map(_can_be, usage.__dict__.values()))


def _can_be(value: object) -> bool:
    return 0 <= value <= _MOST if isinstance(value, int) else can_be_counts(value)
