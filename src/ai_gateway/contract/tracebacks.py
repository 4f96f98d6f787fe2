"""Frees the memory that a handled error keeps alive."""


def forget_frames(error: BaseException) -> None:
    """Drop the traceback frames of the error and of the errors that caused it.

    The frames refer to the whole request, and often to the error itself: such a cycle would keep both until the garbage
    collector runs. To be called once an error is handled and logged.
    """
    left, seen = [error], set[int]()
    while left:
        link = left.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        link.__traceback__ = None
        left += [each for each in (link.__cause__, link.__context__) if each is not None]
        if isinstance(link, BaseExceptionGroup):
            left += link.exceptions
