"""Tools that the gateway runs itself, between the rounds of a model."""
