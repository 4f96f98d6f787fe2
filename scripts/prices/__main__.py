"""Write the table of prices from the pinned source, after a report of what changes: `python -m scripts.prices`."""

import argparse
import sys
from pathlib import Path

from ai_gateway.accounts.price_table import PATH, PriceTable
from scripts.prices.report import report
from scripts.prices.source import take
from scripts.prices.table import render


def main(arguments: list[str] | None = None) -> int:
    """The exit code is 1 when `--check` finds that the table is another one."""
    parser = argparse.ArgumentParser(prog="python -m scripts.prices", description=__doc__)
    parser.add_argument("--table", type=Path, default=PATH, help="the file to compare with and to write")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the table would change")
    chosen = parser.parse_args(arguments)
    taken = take()
    raw = render(taken.entries)
    before = PriceTable(chosen.table.read_bytes()) if chosen.table.exists() else None
    for line in report(before, PriceTable(raw), taken.left):
        print(line)
    if before is not None and chosen.table.read_bytes() == raw:
        return 0
    if chosen.check:
        print(f"{chosen.table.name} is not what the source gives: run `make prices`", file=sys.stderr)
        return 1
    chosen.table.write_bytes(raw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
