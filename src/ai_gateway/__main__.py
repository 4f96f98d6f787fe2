"""Entry point of `python -m ai_gateway` and of the console script."""

import sys

from ai_gateway.server.standard_streams import open_standard_streams
from ai_gateway.server.startup_signals import expect_signals


def main() -> None:
    """Run the command line; signals are handled before the imports, which take most of the startup time."""
    open_standard_streams()
    if sys.argv[1:2] == ["serve"]:
        expect_signals()
    from ai_gateway.cli import main as command_line  # noqa: PLC0415 - see above

    command_line()


if __name__ == "__main__":
    main()
