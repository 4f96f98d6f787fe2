"""Whether content of requests and replies may be stored, by the data retention of project or organization."""

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import ORGANIZATION, DataRetention

OF_THE_ORGANIZATION = "organization_default"
_NO_CONTROL = "none"


def may_keep_content(directory: Directory | None, project_id: str) -> bool:
    """Whether the data retention of the project, or of the organization by default, allows it.

    All kinds of retention except `none` do. If none was ever set, only the gateway's settings decide. Without access to
    the store, it is not allowed.
    """
    if directory is None:
        return True
    if not directory.is_loaded:
        return False
    kept = directory.get(DataRetention, project_id)
    if kept is None or kept.type == OF_THE_ORGANIZATION:
        kept = directory.get(DataRetention, ORGANIZATION)
    return kept is None or kept.type == _NO_CONTROL
