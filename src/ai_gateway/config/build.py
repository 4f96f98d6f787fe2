"""Which build this is: written into the environment by the container build."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Build:
    """The commit and date of a recorded build; None when this runs from a working tree."""

    commit: str | None
    date: str | None


BUILD = Build(commit=os.environ.get("BUILD_COMMIT") or None, date=os.environ.get("BUILD_DATE") or None)
