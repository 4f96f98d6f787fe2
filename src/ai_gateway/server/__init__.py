"""The process that serves the application: uvicorn, with what its defaults leave open closed."""
