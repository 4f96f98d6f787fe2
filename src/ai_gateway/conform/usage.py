"""Whether an upstream's counts can be any: bills and budgets are made of them."""

from pydantic import MISSING

# The largest whole number that every reader of JSON keeps exactly (RFC 8259, section 6).
_MOST = 2**53 - 1


def can_be_counts(usage: object) -> bool:
    """Whether no count in a model is negative or too large to be one; details are counts as well."""
    if not hasattr(usage, "__pydantic_fields_set__"):  # asked of each reply: `isinstance` of a model is dear
        return True
    for value in usage.__dict__.values():
        if type(value) is int:
            if not 0 <= value <= _MOST:
                return False
        elif value is not None and value is not MISSING and not can_be_counts(value):
            return False
    return True
