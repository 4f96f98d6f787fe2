"""Write the table of docs/metrics.md from what the code counts: `python -m scripts.metrics`."""

from pathlib import Path

from ai_gateway.observability.families import FAMILIES, PREFIX, Family

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
_BEGIN = "<!-- Written by `make docs` from the code -->\n"
_END = "<!-- End -->\n"


def page(text: str) -> str:
    """The page with its table as the code has it."""
    before, _, rest = text.partition(_BEGIN)
    lines = ["| Metric | Labels | Meaning |", "|---|---|---|", *map(_line, FAMILIES)]
    return before + _BEGIN + "\n" + "\n".join(lines) + "\n\n" + rest[rest.index(_END) :]


def _line(family: Family) -> str:
    name = PREFIX + family.name + ("_total" if family.kind == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{name}` ({family.kind}) | {labels} | {family.help} |".replace("|  |", "| |")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
