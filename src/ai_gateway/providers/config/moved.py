"""Import paths of version 0.1 that packages with providers may still use. To be removed after the next release."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import override

MOVED = {
    "ai_gateway.providers.cerebras": "ai_gateway.providers.openai.cerebras",
    "ai_gateway.providers.failures": "ai_gateway.providers.http.errors",
    "ai_gateway.providers.ndjson": "ai_gateway.providers.http.ndjson",
    "ai_gateway.providers.open_stream": "ai_gateway.providers.http.stream",
    "ai_gateway.providers.openai_compatible": "ai_gateway.providers.openai.provider",
    "ai_gateway.providers.policy": "ai_gateway.providers.parameters",
    "ai_gateway.providers.quirks": "ai_gateway.providers.openai.quirks",
    "ai_gateway.providers.rows": "ai_gateway.providers.catalog",
    "ai_gateway.providers.same_wire": "ai_gateway.providers.openai.policies",
    "ai_gateway.providers.sdk_transport": "ai_gateway.providers.sdk.client",
    "ai_gateway.providers.sse": "ai_gateway.providers.http.sse",
    "ai_gateway.providers.transport": "ai_gateway.providers.http.client",
}


class _MovedModules(MetaPathFinder, Loader):
    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    @override
    def exec_module(self, module: ModuleType) -> None:
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} has moved: import from ai_gateway.plugin", DeprecationWarning, stacklevel=2)
        # A copy of the names: the import system sets attributes on the module that a loader returns.
        names = vars(importlib.import_module(new))
        vars(module).update({name: value for name, value in names.items() if not name.startswith("__")})


_FINDER = _MovedModules()


def serve_moved_modules() -> None:
    """From now on, imports of the old paths succeed with a DeprecationWarning."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
