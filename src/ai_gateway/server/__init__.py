"""The HTTP server: uvicorn's parser and processes, with stricter limits than its defaults."""
