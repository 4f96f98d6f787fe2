"""Chat completions for upstreams, or models of them, that answer by the Responses API alone."""
