"""What a setting says about itself beside its type."""

from enum import Enum, auto


class Mark(Enum):
    """What a field says about its setting beside its type."""

    RESTART = auto()
    """Built into the server or the application when it starts: a reload leaves it as it is, and says so."""
    FILE_ONLY = auto()
    """A table, which has no form in the environment that anybody could read."""
    SECRET = auto()
    """Never shown; `<NAME>_FILE` may name a file that contains it."""


RESTART, FILE_ONLY, SECRET = Mark.RESTART, Mark.FILE_ONLY, Mark.SECRET
