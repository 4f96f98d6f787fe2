"""The gateway in front of upstreams that are not fakes."""
