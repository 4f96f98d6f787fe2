"""Write the table of docs/conformance.md from the registry of repair rules: `python -m scripts.rules`."""

from pathlib import Path

from ai_gateway.conform.rules import RULES

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
_BEGIN, _END = "<!-- Written by `make docs` from the registry of rules. -->\n", "\n## Streams"


def page(text: str) -> str:
    """The page with its table as the registry has it."""
    before, _, rest = text.partition(_BEGIN)
    after = rest[rest.index(_END) :]
    return before + _BEGIN + table() + after


def table() -> str:
    """A row a rule, in the registry's order."""
    rows = (f"| `{rule.name}` | {rule.repairs} |" for rule in RULES.values())
    return "\n".join(["", "| Rule | What it repairs |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
