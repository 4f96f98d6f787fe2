"""The public import path of the application factory in `ai_gateway.app.build`."""

from ai_gateway.app.build import get_app

__all__ = ["get_app"]
