"""`python -m ai_gateway` is the command line."""

from ai_gateway.cli import main

main()
