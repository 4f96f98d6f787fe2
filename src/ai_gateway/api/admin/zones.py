"""Time zones by their IANA names."""

from zoneinfo import ZoneInfo

from ai_gateway.errors import InvalidRequest


def checked_zone(name: str | None, param: str = "time_zone") -> str:
    """The zone's name, or UTC's without one. Raises InvalidRequest for one that there is not."""
    if not name:
        return "UTC"
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest(
            f"Invalid value for '{param}': no time zone of the IANA database, such as Europe/Berlin, has this name.",
            param=param,
            code="invalid_value",
        ) from None
    return name
