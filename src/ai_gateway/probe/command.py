"""`ai-gateway probe`: from its arguments to its exit code."""

import asyncio
import sys
from collections.abc import Sequence

from ai_gateway.observability.printable import printable_text
from ai_gateway.probe import report
from ai_gateway.probe.catalogue import GROUPS, of_groups
from ai_gateway.probe.run import Result, run
from ai_gateway.probe.target import Target, Unusable, check_key, check_url
from ai_gateway.probe.verdict import Verdict


def probe(target: Target, only: Sequence[str], *, parallel: int, as_json: bool) -> int:
    """Run the probe and show the result. 0 if no check failed, 1 if one did, 2 if it could not start."""
    try:
        result = _run(target, only, parallel)
    except Unusable as problem:
        sys.stderr.write(f"ai-gateway: {printable_text(str(problem))}\n")
        return 2
    if as_json:
        sys.stdout.write(report.as_json(result) + "\n")
    else:
        report.show(result)
    return 1 if result.of(Verdict.FAILED) else 0


def _run(target: Target, only: Sequence[str], parallel: int) -> Result:
    _known(only)
    usable = Target(
        check_url(target.url), check_key(target.key), target.model, target.embedding_model, target.timeout_s
    )
    checks = of_groups(only)
    with report.Watch(len(checks)) as watch:
        return asyncio.run(run(usable, checks, parallel, watch))


def show_list(only: Sequence[str], *, as_json: bool) -> int:
    """Print the checks without sending a request."""
    try:
        _known(only)
    except Unusable as problem:
        sys.stderr.write(f"ai-gateway: {printable_text(str(problem))}\n")
        return 2
    written = report.listing_json if as_json else report.listing
    sys.stdout.write(written(of_groups(only)) + "\n")
    return 0


def _known(only: Sequence[str]) -> None:
    unknown = [group for group in only if group not in GROUPS]
    if unknown:
        raise Unusable(f"--only: there is no group '{unknown[0]}'. Known: {', '.join(GROUPS)}")
