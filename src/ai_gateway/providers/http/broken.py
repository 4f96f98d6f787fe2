"""How connections to upstreams fail, beside the errors of the operating system."""

import httptools


class BrokenReply(Exception):
    """The received bytes are not HTTP, or not a whole reply."""


class Disconnected(ConnectionError):
    """The connection ended before the reply began."""


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
