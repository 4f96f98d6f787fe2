"""Whether what requests and replies say may be kept: the data retention of a project, or of the organization."""

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import ORGANIZATION, DataRetention

OF_THE_ORGANIZATION = "organization_default"
_NO_CONTROL = "none"


def may_keep_content(directory: Directory | None, project_id: str) -> bool:
    """Whether nothing forbids it: neither the project's data retention, nor the organization's where that counts.

    All kinds of retention but `none` do. As long as none was ever set, the gateway's own settings decide alone. While
    the store cannot be asked, nobody knows: then it may not.
    """
    if directory is None:
        return True
    if not directory.is_loaded:
        return False
    kept = directory.get(DataRetention, project_id)
    if kept is None or kept.type == OF_THE_ORGANIZATION:
        kept = directory.get(DataRetention, ORGANIZATION)
    return kept is None or kept.type == _NO_CONTROL
