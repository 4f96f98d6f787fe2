"""The headers of a request as a mapping of strings, made once for all readers."""

from collections.abc import Mapping

from starlette.types import Scope

# Names that nearly every request has, so that they need not be decoded each time.
_NAMES = {
    name.encode(): name
    for name in (
        *("host", "user-agent", "accept", "accept-encoding", "accept-language", "connection", "authorization"),
        *("content-type", "content-length", "x-stainless-lang", "x-stainless-package-version", "x-stainless-os"),
        *("x-stainless-arch", "x-stainless-runtime", "x-stainless-runtime-version", "x-stainless-async"),
        *("x-stainless-retry-count", "x-stainless-read-timeout", "x-stainless-timeout"),
        *("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"),
    )
}


def header_fields(scope: Scope) -> Mapping[str, str]:
    """The headers by their names in lower case; of several with one name, the first.

    Requests of one connection may share the mapping.
    """
    fields: Mapping[str, str] | None = scope.get("fields")
    if fields is None:
        # Inserted from last to first, so that the first one counts.
        known, headers = _NAMES.get, reversed(scope["headers"])
        fields = {known(name) or name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        scope["fields"] = fields
    return fields
