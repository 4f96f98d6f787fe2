"""Chat completions for upstreams, or single models, that only have the Responses API."""
