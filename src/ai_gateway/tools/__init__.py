"""Gateway-run tools: run by the gateway between the rounds of a model."""
