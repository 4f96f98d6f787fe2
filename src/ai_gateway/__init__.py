"""A gateway that speaks OpenAI's API in front of any LLM provider."""

import sys
from importlib import import_module

# structlog loads rich to show variables in tracebacks: 3.6 MB, for what no log of the gateway has. What stands for None
# cannot be imported (docs.python.org/3/reference/import.html, "The module cache").
if sys.modules.setdefault("rich", None) is None:  # type: ignore[arg-type]
    import_module("structlog")
    del sys.modules["rich"]
