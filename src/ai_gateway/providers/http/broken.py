"""How connections to upstreams fail, beside the errors of the operating system."""

import httptools


class BrokenReply(Exception):
    """The received bytes are not HTTP, or not a whole reply."""


class Disconnected(ConnectionError):
    """The connection ended before the reply began."""


class Undelivered(Disconnected):
    """The upstream closed a used connection before the reply began; so many bytes had not reached its machine by then.

    If these are the whole request, it may be sent again on another connection, whatever it does: it was not read.
    """

    def __init__(self, unacknowledged: int) -> None:
        super().__init__("the upstream closed the connection before it replied")
        self.unacknowledged = unacknowledged

    def has_all_of(self, head: bytes, body: bytes | None) -> bool:
        """Whether nothing of this request has arrived."""
        return self.unacknowledged >= len(head) + len(body or b"")


def fault_in(parser: httptools.HttpResponseParser, data: bytes) -> Exception | None:
    """Have the parser read bytes of a reply; returns the error if they are invalid."""
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return BrokenReply("the upstream speaks another protocol from here on")
    except httptools.HttpParserError as error:
        raised = error.__context__  # by a callback of ours
        return raised if isinstance(raised, Exception) else BrokenReply(f"{type(error).__name__}: {error}")
    return None
