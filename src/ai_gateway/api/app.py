"""The required import path of the application factory, which lives in `ai_gateway.app.build`."""

from ai_gateway.app.build import get_app

__all__ = ["get_app"]
