"""Lists as upstreams send them: reading one ends at its first bad item, since one complaint is all that is told."""

from typing import Annotated

from pydantic import FailFast

type Items[T] = Annotated[list[T], FailFast()]
