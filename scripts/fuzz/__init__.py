"""Hold the live gateway to its contract with schemathesis."""
