"""Web tools: search through the operator's backend, and reading of pages that a model names."""
