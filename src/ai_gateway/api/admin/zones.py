"""Time zones by their IANA names."""

from ai_gateway.config.fields import is_time_zone
from ai_gateway.errors import InvalidRequest


def checked_zone(name: str | None, param: str = "time_zone") -> str:
    """The zone's name, by default UTC. Raises InvalidRequest for an unknown one."""
    if not name:
        return "UTC"
    if not is_time_zone(name):
        raise InvalidRequest(
            f"Invalid value for '{param}': no time zone of the IANA database, such as Europe/Berlin, has this name.",
            param=param,
            code="invalid_value",
        )
    return name
