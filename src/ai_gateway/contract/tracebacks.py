"""What an error drags along once everybody is done with it."""


def forget_frames(error: BaseException) -> None:
    """Let go of what the error has come through, and the errors that it was made from.

    The frames hold the whole request, and often the error as well: such a circle would keep both until the garbage
    collector runs. For whoever is done with an error; the log has its traceback by then.
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
