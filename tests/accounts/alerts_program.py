"""A worker that looks at spend alerts, and nothing else, until it is killed."""

import asyncio
import sys
from pathlib import Path

from ai_gateway.accounts.alerts import Alerts, Pace
from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.store.sqlite import SqliteStore


async def main() -> None:
    directory = Directory(SqliteStore(Path(sys.argv[1])))
    await directory.start()
    alerts = Alerts(directory, Ledger(directory.store), Pace(look_s=0.05, claim_s=float(sys.argv[2])))
    alerts.start()
    await asyncio.Event().wait()


asyncio.run(main())
