"""What is held for a call while it runs, and what it comes to when it is over."""

import time
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import NamedTuple, Protocol, override

from ai_gateway.accounts.counters.base import Counters, Granted
from ai_gateway.accounts.holds import Held, Plan
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.price import Price
from ai_gateway.accounts.prices import Prices
from ai_gateway.accounts.records import AttemptRecord, Basis, End, Record, Start, ToolRecord
from ai_gateway.accounts.refusals import limit_headers, limit_lines
from ai_gateway.accounts.targets import Target, names_of
from ai_gateway.contract.call import Call, Notes, OwnText, Reservation
from ai_gateway.contract.outcome import Outcome
from ai_gateway.contract.rounds import ToolRun
from ai_gateway.contract.tokens import Tokens, quickly
from ai_gateway.errors import UpstreamError
from ai_gateway.observability.trace_names import Step

_BYTES_PER_TOKEN = 4  # of English text
_USD = 10**12
_NO_TOOLS: Mapping[str, ToolRun] = MappingProxyType({})


class Settling(Protocol):
    """Where reservations are settled."""

    prices: Prices

    @property
    def counters(self) -> Counters:
        """Where they are counted."""

    async def settle(self, identifier: str, held: Held, amounts: Sequence[int], at: float) -> None:
        """Count the true amounts in place of what was held."""

    def settle_at_once(self, identifier: str, held: Held, amounts: Sequence[int], at: float) -> bool:
        """The same without waiting. Returns whether that was possible."""

    def soon(self, work: Awaitable[None]) -> None:
        """Run something in the background."""


class CountedHold(NamedTuple):
    """What is held for a call, under an id of its own, and when it was counted."""

    id: str
    held: Held
    at: float


class CallReservation(Reservation):
    """What is held for one call. `price` is that of its first target; `answer` says what is left of its limits.

    `later` is what is held of limits that were set since it began, and `left` says that its client has disconnected.
    """

    __slots__ = (
        "_accounting", "_answer", "_attempts", "_basis", "_cost", "_earlier", "_held", "_price", "_priced_by",
        "_records", "_search_cost", "_size", "_targets", "_tokens", "_tools", "_trace", "caller", "is_settled", "later",
        "left", "start",
    )  # fmt: skip
    # What the call has come to, as soon as that is worked out.
    _tokens: Tokens
    _cost: int | None
    _basis: Basis
    _priced_by: str | None
    _records: tuple[AttemptRecord, ...]
    _search_cost: int

    def __init__(  # noqa: PLR0913, PLR0917 - made at one place
        self,
        accounting: Settling,
        call: Call,
        targets: Sequence[Target],
        start: Start,
        price: Price | None,
        held: Held | None = None,
        answer: Granted | None = None,
    ) -> None:
        self.start = start
        self.caller = call.caller
        self.later: tuple[CountedHold, ...] = ()
        self.left = self.is_settled = False
        self._accounting = accounting
        # Not the call itself, which has this reservation: requests leave no cycles for the collector.
        self._attempts = call.attempts
        self._size = call.size + call.recalled
        self._trace = call.trace
        self._targets = targets
        self._price = price
        self._held = held
        self._answer = answer
        self._tools: Mapping[str, ToolRun] = _NO_TOOLS
        self._earlier = call.round.earlier if call.round is not None else 0

    @property
    @override
    def headers(self) -> dict[str, str]:
        held, answer = self._held, self._answer
        headers = limit_headers(held, answer.left, answer.resets) if held is not None and answer is not None else {}
        cost = self._cost_in_headers()
        if cost is not None:
            headers["x-gateway-cost"] = OwnText(_usd(cost))
        return headers

    @override
    def lines(self) -> str:
        held, answer = self._held, self._answer
        lines = limit_lines(held, answer.left, answer.resets) if held is not None and answer is not None else ""
        if not self.is_settled or self._cost is None or (cost := self._cost_in_headers()) is None:
            return lines
        return f"{lines}x-gateway-cost: {_usd(cost)}\r\n"

    def _cost_in_headers(self) -> int | None:
        """Once it is known, unless a stream's head is out before that."""
        if not self.is_settled or self.start.stream or self._cost is None or self._earlier is None:
            return None
        return self._cost + self._earlier

    @property
    def _at(self) -> float:
        """When its holds were counted; without any, when it began."""
        return self._answer.at if self._answer is not None else self.start.at / 1000

    @override
    def cost(self) -> int | None:
        if not self.is_settled:
            self._work_out()
        cost = self._cost
        return None if cost is None or self._earlier is None else cost + self._earlier

    @override
    def ran(self, call_id: str, run: ToolRun) -> None:
        self._tools = {**self._tools, call_id: run}

    @override
    async def settle(self) -> None:
        if self.is_settled:
            return
        if self.settle_at_once():  # as nearly always
            return
        self._work_out()
        self.is_settled = True
        held = self._held
        own = [CountedHold(self.start.id, held, self._at)] if held is not None else []
        with self._trace.step(Step.SETTLE, {}) if self._trace is not None else nullcontext():
            await self._settle([*own, *self.later])

    @override
    def settle_at_once(self) -> bool:
        if self.is_settled:
            return True
        if self._trace is not None or self.later:
            return False
        held, answer = self._held, self._answer
        if held is None or answer is None:
            self._work_out()
            self.is_settled = True
            return True
        if self._accounting.counters.waits:  # before all is summed up in vain
            return False
        self._work_out()
        amounts = held.true_amounts(self._tokens, self._cost)
        self.is_settled = self._accounting.settle_at_once(self.start[1], held, amounts, answer.at)
        return self.is_settled

    async def _settle(self, holds: list[CountedHold]) -> None:
        """All of them, also where it is cancelled: then the others in the background."""
        try:
            while holds:
                identifier, held, at = holds.pop(0)
                await self._accounting.settle(identifier, held, held.true_amounts(self._tokens, self._cost), at)
        finally:
            if holds:
                self._accounting.soon(self._settle(holds))

    def missing_holds(self, scopes: Sequence[Scope], limit: int) -> Held:
        """What the call takes of the limits of these scopes, and is not held yet.

        Money is of the windows in which it began, as it is in the ledger.
        """
        names = {self.start.model}.union(*names_of(self._targets))
        tokens = estimated_tokens(self._size) + self.start.bound_output
        counted = {
            hold.counter for held in (self._held, *(each.held for each in self.later)) if held for hold in held.holds
        }
        return (
            Plan(scopes, names, self.start.at / 1000)
            .held(tokens, self.start.bound or 0)
            .without_counters(counted, limit)
        )

    @override
    def abandon(self) -> None:
        if not self.is_settled:
            self.left = True
            self._accounting.soon(self.settle())

    def record(self, outcome: Outcome) -> Record:
        """What is kept of the call."""
        if not self.is_settled:
            self._work_out()
        start, notes, began, code = self.start, outcome.notes, outcome.started, outcome.code
        first_byte, left, tools = outcome.first_byte, self.left, self._tools
        return quickly(
            Record,
            (
                start,
                self._tokens,
                start[0] + int((outcome.ended - began) * 1000),
                int((first_byte - began) * 1000) if first_byte is not None else None,
                notes.provider or start.provider,
                notes.model or start.upstream_model,
                notes.service_tier,
                "whole" if code is None and outcome.status is not None and not left else self._end(outcome),
                self._basis,
                outcome.status,
                code if not left else None,  # of an error that no client was there to read
                self._cost,
                self._priced_by,
                tuple(sorted(notes.repairs)) if notes.repairs else (),
                tuple(sorted(notes.dropped)) if notes.dropped else (),
                self._search_cost,
                tuple([_tool(run) for run in tools.values()]) if tools else (),
                self._records,
            ),
        )

    def _end(self, outcome: Outcome) -> End:
        if self.left or outcome.status is None:
            return "left"
        if outcome.code is None:
            return "whole"
        return "broken" if outcome.status < 400 else "failed"

    def _work_out(self) -> None:
        """Sum up what the attempts have come to, with the tools that were run after them."""
        attempts = self._attempts
        notes = attempts[0] if len(attempts) == 1 else None
        if notes is not None and notes.failure is None and (tokens := notes.reported) is not None:
            self._use_reported(tokens, notes.service_tier)  # as nearly always
        else:
            self._sum_up([notes for notes in attempts if notes.model])
        if self._tools and self._cost is not None:
            self._cost += sum(tool.cost for tool in self._tools.values())

    def _use_reported(self, tokens: Tokens, tier: str | None) -> None:
        """What the upstream of the only attempt has reported."""
        price = self._price
        cost = self._cost = price.cost(tokens, tier) if price is not None else None
        self._priced_by = price.basis if price is not None else None
        self._tokens, self._basis, self._records, self._search_cost = tokens, "reported", (), 0
        if price is not None and cost is not None and tokens.searches:
            self._search_cost = price.search_cost(tokens.searches)

    def _sum_up(self, attempts: Sequence[Notes]) -> None:
        """What upstreams have reported, and an estimate where one has not."""
        total = Tokens()
        cost: int | None = 0
        search_cost = 0
        basis: Basis = "reported"
        by: str | None = None
        records: list[AttemptRecord] = []
        for notes in attempts:
            tokens = notes.reported
            if tokens is None:
                tokens = self._estimated(notes)
                basis = "estimated" if tokens is not None else basis
            own: int | None = 0
            if tokens is not None:
                price = self._accounting.prices.find(notes.provider, notes.model, self._at)
                own, by = (price.cost(tokens, notes.service_tier), price.basis) if price is not None else (None, None)
                total = total.plus(tokens)
                search_cost += price.search_cost(tokens.searches) if price is not None and own is not None else 0
            cost = None if cost is None or own is None else cost + own
            records.append(_attempt(notes, tokens, own))
        self._tokens, self._cost, self._basis, self._priced_by, self._records = total, cost, basis, by, tuple(records)
        self._search_cost = search_cost if cost is not None else 0

    def _estimated(self, notes: Notes) -> Tokens | None:
        """For an attempt that an upstream has worked at without telling how much; None if it refused.

        Input that it has reported is kept.
        """
        failure = notes.failure
        if failure is not None and not notes.text_bytes and not _may_have_worked(failure):
            return None
        output = max(notes.chunks, -(-notes.text_bytes // _BYTES_PER_TOKEN))
        start = self.start  # no guess is more than there can be, or than is held
        output = min(output, start.bound_output)
        if (counted := notes.tokens) is not None and any(counted):
            return counted._replace(output=output)
        return Tokens(min(estimated_tokens(self._size), start.bound_input), output)


def _attempt(notes: Notes, tokens: Tokens | None, cost: int | None) -> AttemptRecord:
    failure = notes.failure
    status = None
    if failure is not None:
        status = failure.upstream_status if isinstance(failure, UpstreamError) else failure.status
    return AttemptRecord(
        provider=notes.provider,
        model=notes.model,
        started_at=int(notes.started * 1000),
        ended_at=int((notes.ended or time.time()) * 1000),
        status=status,
        code=failure.code if failure is not None else None,
        tokens=tokens,
        cost=cost,
    )


def _tool(run: ToolRun) -> ToolRecord:
    return run.name, int(run.started * 1000), int(run.ended * 1000), run.failed, run.cost


def _may_have_worked(failure: Exception) -> bool:
    """Whether an upstream that failed may want money for it: one that answered something, or took too long."""
    return isinstance(failure, UpstreamError) and failure.worked


def estimated_tokens(size: int) -> int:
    """An estimate of the tokens of so many bytes."""
    return -(-size // _BYTES_PER_TOKEN)


def _usd(cost: int) -> str:
    """An amount of 1e-12 USD as a decimal number, without what is nought at its end."""
    if 0 < cost < _USD:
        return "0." + str(cost).zfill(12).rstrip("0")
    whole, fraction = divmod(cost, _USD)
    return f"{whole}.{fraction:012}".rstrip("0").rstrip(".")
