"""Runs checks against a target: a few concurrently, each with a timeout."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ai_gateway.probe.check import Check
from ai_gateway.probe.client import ProbeClient, Unreachable
from ai_gateway.probe.probe import Probe
from ai_gateway.probe.reply import Reply
from ai_gateway.probe.target import Target, discover
from ai_gateway.probe.verdict import Failed, Outcome, Skipped, Verdict

_SHOWN = 400
"""The maximum length of an excerpt of a response."""

type Watcher = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class Result:
    """All outcomes, in the order of the checks."""

    url: str
    model: str
    embedding_model: str
    outcomes: tuple[Outcome, ...]

    def of(self, verdict: Verdict) -> list[Outcome]:
        """The outcomes of one kind."""
        return [outcome for outcome in self.outcomes if outcome.verdict is verdict]


async def run(target: Target, checks: Sequence[Check], parallel: int, watch: Watcher) -> Result:
    """Every check's outcome; `watch` is called with each as it completes. Raises Unusable if the target is."""
    async with ProbeClient(target.url, target.key, target.timeout_s) as client:
        probe = await discover(client, target)
        slots = asyncio.Semaphore(parallel)

        async def judge(check: Check) -> Outcome:
            async with slots:
                outcome = await _judged(check, probe, target)
            watch(outcome)
            return outcome

        outcomes = await asyncio.gather(*map(judge, checks))
        return Result(client.base_url, probe.model, probe.embedding_model, tuple(outcomes))


async def _judged(check: Check, probe: Probe, target: Target) -> Outcome:
    began = time.monotonic()
    facts = await _verdict(check, probe, target.timeout_s)
    shown = {name: shorten(text, target.key) for name, text in facts.items() if name != "verdict"}
    spent = round(time.monotonic() - began, 3)
    verdict = Verdict(facts["verdict"])
    return Outcome(check.id, check.group, check.title, check.rule, verdict, **shown, seconds=spent)


async def _verdict(check: Check, probe: Probe, timeout_s: float) -> dict[str, str]:
    try:
        async with asyncio.timeout(timeout_s):
            await check.judge(probe)
    except Failed as failure:
        return {"verdict": Verdict.FAILED, "expected": failure.expected, "seen": _text(failure.seen)}
    except Skipped as skip:
        return {"verdict": Verdict.SKIPPED, "reason": skip.reason}
    except Unreachable as error:
        return {"verdict": Verdict.FAILED, "expected": "a connection", "seen": str(error)}
    except TimeoutError:
        return {"verdict": Verdict.FAILED, "expected": f"an end within {timeout_s:g} s", "seen": "none"}
    except Exception as error:  # whatever an upstream sends, the other checks continue
        return {"verdict": Verdict.FAILED, "expected": "an answer that can be judged", "seen": repr(error)}
    return {"verdict": Verdict.PASSED}


def _text(seen: object) -> str:
    return str(seen) if isinstance(seen, str | Reply) else json.dumps(seen, ensure_ascii=False, default=str)


def shorten(text: str, key: str | None) -> str:
    """An excerpt that can be shown: without the key and control characters, and truncated."""
    if key:
        text = text.replace(key, "[key]").replace(json.dumps(key)[1:-1], "[key]")
    plain = "".join(sign if sign.isprintable() else " " for sign in text[:_SHOWN])
    return plain if len(text) <= _SHOWN else f"{plain} ..."
