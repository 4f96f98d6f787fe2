"""The web as a tool: a search through a backend that the operator has chosen, and pages that a model names."""
