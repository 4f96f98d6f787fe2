"""Spend alerts: notify recipients once when an entity's spending in a window reaches a threshold.

Every worker of every replica checks. A reached threshold is recorded in the store, which refuses a duplicate, and any
worker delivers it. A worker claims one attempt at a time, so that another one makes the next if it dies. A worker that
dies between the delivery and its record causes a second delivery with the same id.
"""

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
import structlog
from yarl import URL

from ai_gateway.accounts.delivery import PATIENCE_S, NotDelivered
from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import ORGANIZATION, Project, SpendAlert
from ai_gateway.accounts.holds import PICO_PER_CENT
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.limits import What
from ai_gateway.accounts.refusals import usd
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.accounts.webhook import WebhookNetwork, post
from ai_gateway.accounts.windows import Window, window_at
from ai_gateway.observability.metrics import Event, count

_AT_ONCE = 32
_AT_ONE_PLACE = 4  # so that a receiver that hangs leaves places for the others
_LOOKED_AT = 10_000  # due ones, of which the first may all be for receivers that hang
NOTE = """INSERT INTO notices (id, alert_id, at, attempts, due, outcome, body) VALUES ($1, $2, $3, 0, $3, NULL, $4)
    ON CONFLICT (id) DO NOTHING"""
DUE = "SELECT id, alert_id, attempts FROM notices WHERE due <= $1 ORDER BY due, id LIMIT $2"
BODY = "SELECT body FROM notices WHERE id = $1"
# `attempts` makes the claim of an attempt exclusive.
CLAIM = "UPDATE notices SET attempts = attempts + 1, due = $3 WHERE id = $1 AND attempts = $2 AND due IS NOT NULL"
POSTPONE = "UPDATE notices SET due = $3 WHERE id = $1 AND attempts = $2 AND due IS NOT NULL"
CONCLUDE = "UPDATE notices SET due = NULL, outcome = $3 WHERE id = $1 AND attempts = $2"
_rng = random.SystemRandom()  # jitter: workers that start together must not check together for ever
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mailing:
    """The mail server and sender: SMTP_URL and SMTP_FROM."""

    url: str
    sender: str


@dataclass(frozen=True, slots=True)
class Pace:
    """The interval of checks, the time limit of an attempt, and the pauses after failed ones.

    There is one attempt more than there are pauses. A claim outlasts its attempt, by the difference of replicas'
    clocks.
    """

    look_s: float = 3.0
    attempt_s: float = PATIENCE_S
    claim_s: float = 3 * PATIENCE_S
    # As https://www.standardwebhooks.com recommends: short pauses at first, for some hours in all.
    pauses_s: Sequence[float] = (5, 30, 300, 1_800, 7_200, 18_000, 36_000)


@dataclass(frozen=True, slots=True)
class _Notice:
    """A notice to deliver; `attempts` includes the current one."""

    id: str
    alert_id: str
    attempts: int


class Alerts:
    """The alerts of one worker. `mailing` is None without a mail server, `network` has the settings of webhooks.

    Both may be changed at any time.
    """

    def __init__(
        self, directory: Directory, ledger: Ledger, pace: Pace = Pace(), clock: Callable[[], float] = time.time
    ) -> None:
        self.mailing: Mailing | None = None
        self.network = WebhookNetwork()
        self._clock = clock
        self.ledger = ledger
        self._directory, self._pace = directory, pace
        self._noted: set[str] = set()
        self._delivering: dict[asyncio.Task[None], str] = {}  # with the place of each
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to check every few seconds."""
        self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop. Deliveries in progress are repeated by other workers, or after the next start."""
        tasks = [*self._delivering, *([self._task] if self._task is not None else [])]
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> None:
        """Record reached thresholds, and start due deliveries. Raises StoreError."""
        alerts = list(self._directory.all(SpendAlert))
        if not alerts:
            return
        await self._note_reached(alerts)
        free = _AT_ONCE - len(self._delivering)
        if free <= 0:
            return
        places = Counter(self._delivering.values())
        for identifier, alert_id, attempts in await self.ledger.store.fetch(DUE, self._now_ms(), _LOOKED_AT):
            place = self._place(str(alert_id))
            if places[place] >= _AT_ONE_PLACE:
                continue
            notice = _Notice(str(identifier), str(alert_id), int(attempts or 0) + 1)
            until = self._now_ms() + int(self._pace.claim_s * 1000)
            if await self.ledger.store.execute(CLAIM, notice.id, attempts, until):
                places[place] += 1
                free -= 1
                task = asyncio.create_task(self._deliver(notice))
                self._delivering[task] = place
                task.add_done_callback(self._delivering.pop)
            if free <= 0:
                return

    def _place(self, alert_id: str) -> str:
        """Where the notices of an alert go: the host of its webhook; empty for the mail server."""
        alert = self._directory.get(SpendAlert, alert_id)
        return URL(alert.webhook_url).raw_host or "" if alert is not None and alert.webhook_url is not None else ""

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._pace.look_s * _rng.uniform(0.8, 1.2))
            try:
                with suppress(StoreError):  # reported by the directory
                    await self.look()
            except Exception as error:  # the task must keep running
                _log.error("spend alerts not looked at", exc_info=error)

    # -- thresholds --

    async def _note_reached(self, alerts: Sequence[SpendAlert]) -> None:
        now = self._clock()
        spent: dict[tuple[str, Window], int] = {}
        current: set[str] = set()
        for alert in alerts:
            window = window_at(alert.interval, alert.time_zone, now)
            identifier = _identifier(alert, window)
            current.add(identifier)
            if identifier in self._noted:
                continue
            key = alert.entity, window
            if key not in spent:
                spent[key] = await self.ledger.spent(_what(alert), alert.entity, window.start, window.end)
            if spent[key] >= alert.threshold_amount * PICO_PER_CENT:
                await self._note(identifier, alert, window, spent[key])
                self._noted.add(identifier)
        self._noted &= current

    async def _note(self, identifier: str, alert: SpendAlert, window: Window, spent: int) -> None:
        project = self._directory.get(Project, alert.entity)
        event = _event(identifier, alert, window, spent, project.name if project is not None else None)
        now = self._now_ms()
        body = orjson.dumps({"created_at": now // 1000, **event}).decode()
        if not await self.ledger.store.execute(NOTE, identifier, alert.id, now, body):
            return  # another worker was the first
        count(Event.SPEND_ALERT, "reached", _channel(alert))
        _log.warning("spend alert", alert=alert.id, entity=alert.entity, id=identifier, message=event["text"])

    # -- delivery --

    async def _deliver(self, notice: _Notice) -> None:
        """One attempt, and its outcome."""
        try:
            alert = await self._alert(notice.alert_id)
        except StoreError:  # then once the claim has ended
            return
        if alert is None:  # the alert was deleted
            await self._conclude(notice, "withdrawn")
            return
        facts = {"alert": alert.id, "id": notice.id, "channel": _channel(alert), "attempt": notice.attempts}
        try:
            async with asyncio.timeout(self._pace.attempt_s):
                await self._send(alert, notice)
        except StoreError:  # then once the claim has ended
            return
        except (NotDelivered, TimeoutError) as error:
            await self._failed(alert, notice, error, facts)
        except Exception as error:  # a bug; a later version may make the next attempt
            _log.error("spend alert could not be sent", **facts, exc_info=error)
            await self._failed(alert, notice, error, facts)
        else:
            count(Event.SPEND_ALERT, "delivered", _channel(alert))
            _log.info("spend alert delivered", **facts)
            await self._conclude(notice, "delivered")

    async def _failed(self, alert: SpendAlert, notice: _Notice, error: Exception, facts: dict[str, object]) -> None:
        reason = str(error) or "took too long"
        pauses = self._pace.pauses_s
        is_final = isinstance(error, NotDelivered) and error.is_final
        if is_final or notice.attempts > len(pauses):
            count(Event.SPEND_ALERT, "undeliverable", _channel(alert))
            _log.error("spend alert undeliverable", **facts, reason=reason)
            await self._conclude(notice, "undeliverable")
            return
        pause = pauses[notice.attempts - 1]
        _log.warning("spend alert not delivered", **facts, reason=reason, again_in_s=pause)
        with suppress(StoreError):  # then once the claim has ended
            await self.ledger.store.execute(POSTPONE, notice.id, notice.attempts, self._now_ms() + int(pause * 1000))

    async def _conclude(self, notice: _Notice, outcome: str) -> None:
        try:
            await self.ledger.store.execute(CONCLUDE, notice.id, notice.attempts, outcome)
        except StoreError as error:
            _log.error("spend alert will be sent again", id=notice.id, outcome=outcome, error=str(error))

    async def _alert(self, identifier: str) -> SpendAlert | None:
        """The alert, which another worker may have created just now. Raises StoreError."""
        alert = self._directory.get(SpendAlert, identifier)
        if alert is None:
            await self._directory.refresh()
            alert = self._directory.get(SpendAlert, identifier)
        return alert

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    async def _send(self, alert: SpendAlert, notice: _Notice) -> None:
        if notice.attempts > len(self._pace.pauses_s) + 1:
            raise NotDelivered("the worker that made the last attempt has died", is_final=True)
        ((body,),) = await self.ledger.store.fetch(BODY, notice.id)
        if alert.webhook_url is not None:
            await post(alert.webhook_url, alert.webhook_secret or "", notice.id, str(body).encode(), self.network)
            return
        if self.mailing is None:
            raise NotDelivered("there is no mail server: set SMTP_URL and SMTP_FROM", is_final=True)
        # Imported on first use, since few gateways send mails.
        from ai_gateway.accounts.mail import MailServer  # noqa: PLC0415

        event = orjson.loads(str(body))
        subject = f"{alert.subject_prefix or ''} {event['text']}"
        server = MailServer.at(self.mailing.url, self.mailing.sender)
        await server.send(notice.id, alert.recipients, subject, _letter(event))


def _what(alert: SpendAlert) -> What:
    return "organization" if alert.entity == ORGANIZATION else "project"


def _channel(alert: SpendAlert) -> str:
    return "webhook" if alert.webhook_url is not None else "email"


def _identifier(alert: SpendAlert, window: Window) -> str:
    """The id of a notice: unique for alert, window and threshold."""
    facts = [alert.id, alert.interval, alert.time_zone, window.start, alert.threshold_amount]
    return f"evt_{hashlib.sha256(orjson.dumps(facts)).hexdigest()[:32]}"


def _event(identifier: str, alert: SpendAlert, window: Window, spent: int, name: str | None) -> dict[str, object]:
    """The event in the form of OpenAI's webhooks, with a `text` that Slack, Mattermost and Teams show."""
    what = _what(alert)
    called = "The organization" if what == "organization" else f"Project {name or alert.entity}"
    threshold = usd(alert.threshold_amount * PICO_PER_CENT)
    per = "in total" if alert.interval == "total" else f"this {alert.interval}"
    return {
        "object": "event",
        "id": identifier,
        "type": "spend_alert.reached",
        "text": f"{called} has spent {usd(spent)} {per}: the alert is set to {threshold}.",
        "data": {
            "alert_id": alert.id,
            "entity": {"type": what, "id": alert.entity, "name": name},
            "threshold_amount": alert.threshold_amount,
            "spent": usd(spent).removeprefix("$"),
            "currency": alert.currency,
            "interval": alert.interval,
            "time_zone": alert.time_zone,
            "window_start": window.start,
            "window_end": window.end,
        },
    }


def _letter(event: dict[str, object]) -> str:
    """The text of a mail."""
    data = event["data"]
    assert isinstance(data, dict)  # noqa: S101 - for the type checker: we wrote it
    start, end, zone = data["window_start"], data["window_end"], data["time_zone"]
    lines = [str(event["text"]), ""]
    if end is not None:
        lines.append(f"Counted from {_instant(start)} to {_instant(end)} ({data['interval']}, {zone}).")
    lines.append("Nothing was stopped by this: that is what spend limits are for.")
    lines.append(f"Alert {data['alert_id']}, event {event['id']}.")
    return "\n".join(lines) + "\n"


def _instant(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
