"""A gateway that speaks OpenAI's API in front of any LLM provider."""

import sys
from importlib import import_module

# structlog loads rich to show variables in tracebacks: 3.6 MB, which no log of the gateway does. A module that is None
# in `sys.modules` cannot be imported (docs.python.org/3/reference/import.html, "The module cache").
if sys.modules.setdefault("rich", None) is None:  # type: ignore[arg-type]
    import_module("structlog")
    del sys.modules["rich"]
