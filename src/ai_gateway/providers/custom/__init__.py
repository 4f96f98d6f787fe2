"""The built-in provider `custom`: a deterministic, offline test double."""

from ai_gateway.providers.custom.provider import CustomProvider

__all__ = ["CustomProvider"]
