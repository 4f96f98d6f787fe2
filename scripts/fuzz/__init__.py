"""Fuzzing: checks the live gateway against its contract with schemathesis."""
