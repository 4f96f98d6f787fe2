"""Spend alerts: each is told once, by one of all workers, to whoever is to learn of it, however hard that is."""

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai_gateway.accounts.alerts import Alerts, Mailing, Pace
from ai_gateway.accounts.delivery import NotDelivered
from ai_gateway.accounts.directory import Actor, Directory
from ai_gateway.accounts.entities import ORGANIZATION, Project, SpendAlert
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.ledger_rows import DAY
from ai_gateway.accounts.mail import MailServer
from ai_gateway.accounts.store.postgres import PostgresStore
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.accounts.webhook import post, signature, signing_key
from ai_gateway.observability.metrics import Event, counted
from tests.accounts.calls import ended, started
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.certificate import self_signed
from tests.support.gateway import closed_port, in_front_of, running_gateway
from tests.support.mail_host import MailHost, running_mail_host
from tests.support.servers import Server, new_database
from tests.support.upstream import Exchange, Seen, Upstream, running_upstream

CENT = 10**10
# A token of output is a quarter of a cent, so that the four of each reply are one cent.
PRICES = """
[prices."lab/*"]
input = 0
output = 2500
"""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
QUICK = Pace(look_s=0.02, pauses_s=(0.05, 0.05, 0.05))
ME = Actor(None, "test")


async def behave(exchange: Exchange) -> None:
    """The last part of the path says what becomes of each POST, in order; the last of them of all others."""
    path = exchange.seen.path
    what = path.rsplit("/", 1)[1].split(",")
    number = sum(seen.path == path for seen in RECEIVER.requests) - 1
    match what[min(number, len(what) - 1)]:
        case "hang":
            await exchange.hang()
        case "reset":
            exchange.reset()
        case "302":
            await exchange.reply(b"", status=302, headers={"location": f"http://127.0.0.1:{RECEIVER.port}/stolen/200"})
        case "endless":
            await exchange.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n" + b"x" * 2**16)
            await exchange.hang()
        case status:
            await exchange.reply(b'{"error": "why"}', status=int(status))


RECEIVER: Upstream


@pytest.fixture(scope="module")
def receiver() -> Iterator[Upstream]:
    global RECEIVER
    with running_upstream(behave) as RECEIVER:
        yield RECEIVER


class Workers:
    """Several of them on one store, each with a copy of the directory as in a process of its own."""

    def __init__(self, directories: Sequence[Directory], now: float) -> None:
        self.directories = directories
        self.now = now
        self.alerts = [
            Alerts(directory, Ledger(directory.store), QUICK, clock=lambda: self.now + time.time())
            for directory in directories
        ]

    async def put(self, **facts: Any) -> SpendAlert:
        """An alert of 10 cents a month, unless told otherwise."""
        known = {"id": "alert_1", "entity": "default", "threshold_amount": 10, "created_at": 1, **facts}
        alert = SpendAlert(**known)
        async with self.directories[0].change(ME) as change:
            change.put(alert)
        await self.refresh()
        return alert

    async def refresh(self) -> None:
        for directory in self.directories:
            await directory.refresh()

    async def spend(self, cents: float, project: str = "default") -> None:
        at = int((self.now + time.time()) * 1000)
        record = ended(started(f"call-{time.monotonic_ns()}", at=at, project_id=project), cost=int(cents * CENT))
        await Ledger(self.directories[0].store).append([record])

    async def look(self, times: int = 1) -> None:
        """All at once, so often, and until nothing is under way."""
        for _ in range(times):
            await asyncio.gather(*(each.look() for each in self.alerts))
            await asyncio.gather(*(task for each in self.alerts for task in each._delivering))

    async def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not done():
            assert time.monotonic() < deadline
            await self.look()
            await asyncio.sleep(0.02)

    async def outcomes(self) -> list[str | int | None]:
        rows = await self.directories[0].store.fetch("SELECT outcome FROM notices ORDER BY at, id")
        return [outcome for (outcome,) in rows]


@asynccontextmanager
async def working(place: Path | str, count: int = 1) -> AsyncIterator[Workers]:
    """So many workers on a SQLite file in this place, or on the PostgreSQL at this address."""
    async with AsyncExitStack() as stack:
        directories = []
        for _ in range(count):
            store = PostgresStore(place) if isinstance(place, str) else SqliteStore(place / "gateway.db")
            if isinstance(store, PostgresStore):
                await store.migrate()
            directory = Directory(store)
            await directory.start()
            stack.push_async_callback(directory.aclose)
            directories.append(directory)
        workers = Workers(directories, now=0.0)
        for each in workers.alerts:
            stack.push_async_callback(each.aclose)
        yield workers


def address(receiver: Upstream, name: str, what: str) -> str:
    return f"http://127.0.0.1:{receiver.port}/{name}/{what}"


def posts(receiver: Upstream, name: str) -> list[Seen]:
    return [seen for seen in list(receiver.requests) if seen.path.startswith(f"/{name}/")]


# -- once --


async def test_of_many_workers_one_tells_and_openais_sdk_verifies_it(receiver: Upstream, tmp_path: Path) -> None:
    from openai import OpenAI

    async with working(tmp_path, 4) as workers:
        alert = await workers.put(webhook_url=address(receiver, "once", "204"), webhook_secret=SECRET)
        await workers.spend(9.99)
        await workers.look()
        assert posts(receiver, "once") == []
        await workers.spend(0.01)
        await workers.look(5)
        (seen,) = posts(receiver, "once")
        assert await workers.outcomes() == ["delivered"]
    assert (seen.method, seen.header("content-type")) == ("POST", "application/json")
    OpenAI(api_key="none").webhooks.verify_signature(seen.body, dict(seen.headers), secret=SECRET)
    event = seen.json
    assert event["id"] == seen.header("webhook-id")
    assert event["type"] == "spend_alert.reached"
    assert event["text"] == "Project Default has spent $0.10 this month: the alert is set to $0.10."
    data = event["data"]
    assert data["alert_id"] == alert.id
    assert data["entity"] == {"type": "project", "id": "default", "name": "Default"}
    assert (data["threshold_amount"], data["currency"], data["interval"]) == (10, "USD", "month")
    assert data["window_start"] <= event["created_at"] < data["window_end"]


@pytest.mark.parametrize("secret", [SECRET, "words of my own", "dGV4dA=="])
def test_a_signature_is_what_openais_sdk_expects(secret: str) -> None:
    from openai import InvalidWebhookSignatureError, OpenAI

    now = int(time.time())
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = signature(secret, "evt_1", now, b'{"a": 1}')
    webhooks = OpenAI(api_key="none").webhooks
    webhooks.verify_signature(b'{"a": 1}', headers, secret=secret)
    with pytest.raises(InvalidWebhookSignatureError):
        webhooks.verify_signature(b'{"a": 2}', headers, secret=secret)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64", "whsec_abc"])
def test_a_secret_that_cannot_be_read_is_no_key(secret: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        signing_key(secret)


async def test_a_raised_threshold_and_a_new_window_are_told_anew_and_nothing_else(
    receiver: Upstream, tmp_path: Path
) -> None:
    async with working(tmp_path, 2) as workers:
        url = address(receiver, "anew", "200")
        alert = await workers.put(webhook_url=url, webhook_secret=SECRET, interval="day", time_zone="Asia/Kolkata")

        async def reported() -> int:
            await workers.look(3)
            return len(posts(receiver, "anew"))

        await workers.spend(15)
        assert await reported() == 1
        await workers.spend(10)
        await workers.put(**_facts(replace(alert, webhook_url=url + "?other", webhook_secret=None)))
        assert await reported() == 1, "told before"
        await workers.put(**_facts(replace(alert, threshold_amount=30)))
        assert await reported() == 1, "not yet reached"
        await workers.spend(5)
        assert await reported() == 2
        workers.now += DAY
        assert await reported() == 2, "nothing is spent in the new window"
        await workers.spend(30)
        assert await reported() == 3
    assert len({seen.json["id"] for seen in posts(receiver, "anew")}) == 3


async def test_only_what_the_entity_itself_has_spent_counts(receiver: Upstream, tmp_path: Path) -> None:
    async with working(tmp_path) as workers:
        async with workers.directories[0].change(ME) as change:
            change.put(Project(id="proj_b", name="B", created_at=1))
        for entity in ("default", "proj_b", ORGANIZATION):
            url = address(receiver, f"of-{entity}", "200")
            await workers.put(id=f"alert_{entity}", entity=entity, webhook_url=url, webhook_secret=SECRET)
        await workers.spend(6, "default")
        await workers.spend(6, "proj_b")
        await workers.look(2)
        assert [len(posts(receiver, f"of-{entity}")) for entity in ("default", "proj_b", ORGANIZATION)] == [0, 0, 1]
        assert posts(receiver, f"of-{ORGANIZATION}")[0].json["text"].startswith("The organization has spent $0.12 ")


def _facts(alert: SpendAlert) -> dict[str, Any]:
    return {name: getattr(alert, name) for name in SpendAlert.__dataclass_fields__}


# -- however hard it is --


async def test_it_is_tried_again_until_it_is_received_and_not_after(receiver: Upstream, tmp_path: Path) -> None:
    from openai import OpenAI

    async with working(tmp_path, 2) as workers:
        await workers.put(webhook_url=address(receiver, "again", "500,302,reset,201"), webhook_secret=SECRET)
        await workers.spend(10)
        await workers.until(lambda: len(posts(receiver, "again")) == 4)
        await workers.look(5)
        assert await workers.outcomes() == ["delivered"]
    seen = posts(receiver, "again")
    assert len(seen) == 4
    assert len({each.body for each in seen}) == len({each.header("webhook-id") for each in seen}) == 1
    assert posts(receiver, "stolen") == [], "a redirect was followed"
    for each in seen:
        OpenAI(api_key="none").webhooks.verify_signature(each.body, dict(each.headers), secret=SECRET)


async def test_replicas_on_postgresql_tell_it_once_as_well(receiver: Upstream, postgres: Server) -> None:
    async with working(await new_database(postgres), 4) as workers:
        await workers.put(webhook_url=address(receiver, "replicas", "500,204"), webhook_secret=SECRET)
        await workers.spend(10)
        await workers.until(lambda: len(posts(receiver, "replicas")) == 2)
        await workers.look(5)
        assert await workers.outcomes() == ["delivered"]
    assert len(posts(receiver, "replicas")) == 2


async def test_what_nobody_receives_is_given_up_after_so_many_attempts(receiver: Upstream, tmp_path: Path) -> None:
    before = counted(Event.SPEND_ALERT)
    async with working(tmp_path, 2) as workers:
        await workers.put(webhook_url=address(receiver, "never", "503"), webhook_secret=SECRET)
        await workers.spend(10)
        await workers.until(lambda: len(posts(receiver, "never")) == 4)
        await workers.look(5)
        assert await workers.outcomes() == ["undeliverable"]
    assert len(posts(receiver, "never")) == len(QUICK.pauses_s) + 1
    after = counted(Event.SPEND_ALERT)
    news = {labels: times - before.get(labels, 0) for labels, times in after.items()}
    assert news["reached", "webhook"] == news["undeliverable", "webhook"] == 1
    assert news.get(("delivered", "webhook"), 0) == 0


async def test_one_that_hangs_holds_up_no_other_and_is_tried_again(receiver: Upstream, tmp_path: Path) -> None:
    async with working(tmp_path) as workers:
        (alerts,) = workers.alerts
        alerts._pace = replace(QUICK, attempt_s=0.3)
        await workers.put(id="alert_0", webhook_url=address(receiver, "slow", "hang,200"), webhook_secret=SECRET)
        await workers.put(id="alert_1", webhook_url=address(receiver, "quick", "200"), webhook_secret=SECRET)
        await workers.spend(10)
        await alerts.look()
        await _until(lambda: bool(posts(receiver, "quick") and posts(receiver, "slow")))
        await workers.until(lambda: len(posts(receiver, "slow")) == 2)
        await workers.look()
        assert await workers.outcomes() == ["delivered", "delivered"]
    assert len(posts(receiver, "quick")) == 1


async def test_what_is_late_is_told_of_the_window_in_which_it_was_reached(receiver: Upstream, tmp_path: Path) -> None:
    async with working(tmp_path) as workers:
        await workers.put(webhook_url=address(receiver, "late", "500,200"), webhook_secret=SECRET, interval="day")
        await workers.spend(10)
        await workers.look()
        workers.now += 2 * DAY
        await workers.look(2)
    first, second = posts(receiver, "late")
    assert first.body == second.body


async def test_an_alert_that_was_deleted_is_not_told(receiver: Upstream, tmp_path: Path) -> None:
    async with working(tmp_path) as workers:
        await workers.put(webhook_url=address(receiver, "deleted", "500,200"), webhook_secret=SECRET)
        await workers.put(id="alert_2", threshold_amount=100_000)
        await workers.spend(10)
        await workers.look()
        async with workers.directories[0].change(ME) as change:
            change.delete(SpendAlert, "alert_1")
        await asyncio.sleep(0.1)
        await workers.look()
        assert await workers.outcomes() == ["withdrawn"]
    assert len(posts(receiver, "deleted")) == 1


async def test_an_alert_that_another_worker_knows_first_is_told_by_whoever_is_next(
    receiver: Upstream, tmp_path: Path
) -> None:
    async with working(tmp_path, 2) as workers:
        await workers.put(id="alert_2", threshold_amount=100_000)
        url = address(receiver, "new", "200")
        alert = SpendAlert(
            id="alert_1", entity="default", threshold_amount=10, created_at=1, webhook_url=url, webhook_secret=SECRET
        )
        async with workers.directories[0].change(ME) as change:
            change.put(alert)
        await workers.spend(10)
        await workers.alerts[0]._note_reached([alert])
        assert workers.directories[1].get(SpendAlert, "alert_1") is None
        await workers.alerts[1].look()
        await workers.look()
        assert await workers.outcomes() == ["delivered"]
    assert len(posts(receiver, "new")) == 1


async def test_the_reply_is_received_with_its_status_however_long_it_is(receiver: Upstream) -> None:
    await post(address(receiver, "endless", "endless"), SECRET, "evt_1", b"{}")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{closed}/", "http://nobody.invalid/", "http://[/", "http://h:99999/"]
)
async def test_an_address_that_nobody_is_at_is_not_delivered_to(url: str) -> None:
    with closed_port() as closed, pytest.raises(NotDelivered):
        await post(url.replace("{closed}", str(closed)), SECRET, "evt_1", b"{}")


def test_what_a_killed_worker_had_claimed_is_told_by_another(receiver: Upstream, tmp_path: Path) -> None:
    async def reach() -> None:
        async with working(tmp_path) as workers:
            await workers.put(webhook_url=address(receiver, "killed", "hang,200"), webhook_secret=SECRET)
            await workers.spend(10)

    async def reported() -> None:
        async with working(tmp_path) as workers:
            deadline = time.monotonic() + 30
            while await workers.outcomes() != ["delivered"]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)

    asyncio.run(reach())
    command = [sys.executable, str(Path(__file__).with_name("alerts_program.py")), str(tmp_path / "gateway.db"), "1.5"]
    with subprocess.Popen(command) as first:
        _wait(lambda: len(posts(receiver, "killed")) == 1)
        with subprocess.Popen(command) as second:
            first.kill()
            try:
                asyncio.run(reported())
            finally:
                second.kill()
    seen = posts(receiver, "killed")
    assert len(seen) == 2
    assert len({each.header("webhook-id") for each in seen}) == 1


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def _until(done: Callable[[], bool]) -> None:
    await asyncio.to_thread(_wait, done)


# -- by e-mail --


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a mail server shows, and what trusts it."""
    path = self_signed(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path.with_suffix(".crt")))


def mail_server(host: MailHost, tls: ssl.SSLContext | None = None, login: str = "") -> MailServer:
    url = host.url.replace("://", f"://{login}@") if login else host.url
    server = MailServer.at(url, "Gateway <gateway@example.com>")
    return replace(server, tls=tls) if tls is not None else server


async def test_an_alert_is_mailed_to_all_its_recipients_once(tmp_path: Path) -> None:
    with running_mail_host(refused={"gone@example.com"}) as host:
        async with working(tmp_path, 3) as workers:
            for each in workers.alerts:
                each.mailing = Mailing(host.url, "Gateway <gateway@example.com>")
            people = ("a@example.com", "gone@example.com", "b@example.com", "no address")
            await workers.put(recipients=people, subject_prefix="[Team Zürich]")
            await workers.spend(10)
            await workers.look(4)
            assert await workers.outcomes() == ["delivered"]
        (mail,) = host.mails
    assert (mail.sender, mail.recipients) == ("gateway@example.com", ["a@example.com", "b@example.com"])
    message = mail.message
    assert str(message["subject"]).startswith("[Team Zürich] Project Default has spent $0.1")
    assert message["from"] == "Gateway <gateway@example.com>"
    assert message["to"] == "a@example.com, gone@example.com, b@example.com"
    assert message["auto-submitted"] == "auto-generated"
    assert "Counted from" in message.get_content()


async def test_without_a_mail_server_it_is_logged_and_counted(tmp_path: Path) -> None:
    before = counted(Event.SPEND_ALERT).get(("reached", "email"), 0)
    async with working(tmp_path) as workers:
        await workers.put(recipients=("a@example.com",))
        await workers.spend(10)
        await workers.look(3)
        assert await workers.outcomes() == ["undeliverable"]
    assert counted(Event.SPEND_ALERT)["reached", "email"] == before + 1


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\0"])
async def test_no_text_makes_a_header_of_its_own(end: str) -> None:
    bad = f"Team{end}Bcc: thief@example.com{end}{end}body"
    with running_mail_host() as host:
        people = ("a@example.com", f"b@example.com{end}Bcc:thief@example.com", f"c@example.com{end}d@example.com")
        await mail_server(host).send("evt_1", people, bad, "text")
        (mail,) = host.mails
    assert mail.recipients == ["a@example.com"]
    assert [name.lower() for name in mail.message.keys()].count("bcc") == 0  # noqa: SIM118 - headers are no mapping
    assert mail.message["subject"] == "Team Bcc: thief@example.com body"
    assert mail.message.get_content().strip() == "text"


async def test_a_password_goes_over_tls_only(certificate: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    shown, trusting = certificate
    with running_mail_host() as host, pytest.raises(NotDelivered, match="STARTTLS"):
        await mail_server(host, login="me:se%40cret").send("evt_1", ("a@example.com",), "s", "t")
    assert not [command for command in host.commands if command.startswith("AUTH")]
    for implicit in (False, True):
        with running_mail_host(tls=shown, implicit=implicit) as host:
            await mail_server(host, trusting, "me:se%40cret").send("evt_1", ("a@example.com",), "s", "t")
            (mail,) = host.mails
        assert (mail.encrypted, mail.login) == (True, ":me:se@cret")


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_mail_server_whose_certificate_nobody_signed_gets_nothing(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext], *, implicit: bool
) -> None:
    with (
        running_mail_host(tls=certificate[0], implicit=implicit) as host,
        pytest.raises(NotDelivered, match=r"(?i)certificate"),
    ):
        await mail_server(host).send("evt_1", ("a@example.com",), "s", "t")
    assert host.mails == []


async def test_a_mail_server_that_hangs_or_refuses_is_tried_again(tmp_path: Path) -> None:
    with running_mail_host(refused={"a@example.com"}) as host:
        async with working(tmp_path) as workers:
            (alerts,) = workers.alerts
            alerts._pace = replace(QUICK, attempt_s=0.5)
            alerts.mailing = Mailing(host.url, "gateway@example.com")
            await workers.put(recipients=("a@example.com",))
            await workers.spend(10)
            await workers.look()
            host.refused.clear()
            host.hangs_at = "DATA"
            await asyncio.sleep(0.1)
            await alerts.look()
            await _until(lambda: "data" in host.commands)
            host.hangs_at = None
            await _until(lambda: host.ended == 2)  # its client has left: no thread waits for it
            await workers.until(lambda: len(host.mails) == 1)
            await workers.look(3)
            assert await workers.outcomes() == ["delivered"]
    assert len(host.mails) == 1


# -- by a gateway --


def test_a_gateway_of_two_workers_tells_each_channel_once_and_shows_what_is_spent(
    receiver: Upstream, shared_upstream: Upstream, tmp_path: Path
) -> None:
    from openai import OpenAI

    (tmp_path / "gateway.toml").write_text(PRICES)
    with (
        running_mail_host() as host,
        running_gateway(
            **in_front_of(shared_upstream),
            ADMIN_API_KEY=ADMIN_KEY,
            GATEWAY_DATA_DIR=str(tmp_path),
            GATEWAY_CONFIG=str(tmp_path / "gateway.toml"),
            WORKERS="2",
            OUTPUT_TOKENS_BOUND="4",
            SMTP_URL=host.url,
            SMTP_FROM="gateway@example.com",
        ) as live,
    ):
        admin = Administrator(live)
        project = admin.project("Research")
        made = admin.account(project)["api_key"]
        spent = {"threshold_amount": 2, "currency": "USD", "interval": "month"}
        webhook = {"type": "webhook", "url": address(receiver, "live", "200")}
        secret = _alert(admin, project, webhook)["notification_channel"]["secret"]
        _alert(admin, project, {"type": "email", "recipients": ["a@example.com"], "subject_prefix": "[LLM]"})
        bad = {**spent, "notification_channel": {**webhook, "secret": "whsec_-"}}
        assert admin.refused(400, "POST", "spend_alerts", bad)["param"] == "notification_channel.secret"
        limit = admin.post(f"projects/{project}/spend_limit", spent)
        assert limit["enforcement"]["status"] == "inactive"
        (key,) = admin.get(f"projects/{project}/api_keys")["data"]
        assert key["last_used_at"] is None
        for _ in range(2):
            assert admin.infers(made["value"], "lab/m").status_code == 200
        deadline = time.monotonic() + 30
        while not (host.mails and posts(receiver, "live")):
            assert time.monotonic() < deadline, live.log()
            time.sleep(0.05)
        while len(live.records("spend alert delivered")) < 2:
            assert time.monotonic() < deadline, live.log()
        assert admin.get(f"projects/{project}/spend_limit")["enforcement"]["status"] == "enforcing"
        assert admin.get(f"projects/{project}/api_keys/{made['id']}")["last_used_at"] >= made["created_at"]
    (mail,), (seen,) = host.mails, posts(receiver, "live")
    OpenAI(api_key="none").webhooks.verify_signature(seen.body, dict(seen.headers), secret=secret)
    assert mail.message["subject"].strip() == f"[LLM] {seen.json['text']}"
    assert seen.json["text"] == "Project Research has spent $0.02 this month: the alert is set to $0.02."


def _alert(admin: Administrator, project: str, channel: dict[str, Any]) -> Any:
    alert = {"threshold_amount": 2, "currency": "USD", "interval": "month", "notification_channel": channel}
    return admin.post(f"projects/{project}/spend_alerts", alert)


def test_the_sample_of_the_docs_verifies_what_is_sent() -> None:
    text = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text("utf-8")
    sample = next(block for block in text.split("```python\n")[1:] if "webhook-signature" in block).split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(sample, "accounts.md", "exec"), names)  # noqa: S102 - our own docs
    is_genuine = names["is_genuine"]
    now, body = int(time.time()), json.dumps({"text": "a"}).encode()

    def headers(at: int, secret: str = SECRET) -> dict[str, str]:
        signed = signature(secret, "evt_1", at, body)
        return {"webhook-id": "evt_1", "webhook-timestamp": str(at), "webhook-signature": signed}

    assert is_genuine(SECRET, headers(now), body)
    two = f"v1,bm9uZQ== {headers(now)['webhook-signature']}"
    assert is_genuine(SECRET, {**headers(now), "webhook-signature": two}, body)
    assert not is_genuine(SECRET, headers(now), body + b" ")
    assert not is_genuine(SECRET, headers(now - 3600), body)
    assert not is_genuine(SECRET, headers(now, "whsec_b3RoZXI="), body)


async def test_a_hundred_alerts_of_a_receiver_that_hangs_hold_up_no_other(receiver: Upstream, tmp_path: Path) -> None:
    """With a hundred alerts for it, of which each takes ten seconds."""
    async with working(tmp_path) as workers:
        hanging = address(receiver, "silent", "hang")
        quick = address(receiver, "prompt", "200").replace("127.0.0.1", "localhost")
        facts: dict[str, Any] = {"entity": "default", "threshold_amount": 1, "created_at": 1, "webhook_secret": SECRET}
        async with workers.directories[0].change(ME) as change:
            for at in range(100):
                change.put(SpendAlert(id=f"alert_{at:03}", webhook_url=hanging, **facts))
            change.put(SpendAlert(id="alert_last", webhook_url=quick, **facts))
        await workers.refresh()
        await workers.spend(10)
        async with asyncio.timeout(40):
            while not posts(receiver, "prompt"):
                await workers.alerts[0].look()
                await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_mail_server_that_hangs_holds_up_nothing_else_that_needs_a_thread() -> None:
    """As metrics do; each mail to it takes five seconds, and an event loop has up to 32 threads."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listening:
        server = MailServer("127.0.0.1", listening.sockets[0].getsockname()[1], "a@example.com")
        sending = [asyncio.create_task(server.send("id", ("b@example.com",), "s", "t")) for _ in range(64)]
        await asyncio.sleep(0)
        async with asyncio.timeout(4):
            await asyncio.to_thread(int)
        for each in sending:
            each.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
