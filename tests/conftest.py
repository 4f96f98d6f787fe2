"""All that suites share is in the plugin."""

pytest_plugins = ["tests.support.plugin"]
