"""How connections to upstreams fail, beside the errors of the operating system."""


class BrokenReply(Exception):
    """The received bytes are not HTTP, or not a whole reply."""


class Disconnected(ConnectionError):
    """The connection ended before the reply began."""
