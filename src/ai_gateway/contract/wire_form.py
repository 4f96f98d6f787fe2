"""The JSON of a request as an upstream gets it.

It is always written from the parsed fields and never spliced from the bytes that the caller sent, which would be exact
only if no object in them had a key twice: the gateway reads, checks and meters the last of them, an upstream may read
the first. To prove that none has takes a look at every quote and escape, which alone takes longer than writing all of
it anew.
"""

from collections.abc import Mapping

from pydantic_core import SchemaSerializer, core_schema

# It remembers how long its last text was: `pydantic_core.to_json`, which begins anew each time and grows its buffer
# step by step, takes twice as long for one long text.
_WRITER = SchemaSerializer(core_schema.any_schema())


def to_wire(fields: Mapping[str, object]) -> bytes:
    """JSON values as JSON, keys in their order, without blanks; texts as they are, in UTF-8."""
    return _WRITER.to_json(fields)
