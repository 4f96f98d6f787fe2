"""A mail server on loopback that keeps what it gets, and that refuses, hangs or hides to order."""

import asyncio
import base64
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from tests.support.serving import HOST, serving


@dataclass
class Mail:
    """One mail as it came: its envelope, its text, and whether the connection was encrypted by then."""

    sender: str
    recipients: list[str]
    raw: bytes
    encrypted: bool
    login: str | None

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.raw, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass
class MailHost:
    """`tls` is its certificate, offered by STARTTLS unless it speaks TLS from the start (`implicit`)."""

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    refused: set[str] = field(default_factory=set)
    hangs_at: str | None = None
    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    ended: int = 0
    """Connections that are over."""

    @property
    def url(self) -> str:
        return f"{'smtps' if self.implicit else 'smtp'}://{HOST}:{self.port}"

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
                await _Session(self, reader, writer).run()
        finally:
            self.ended += 1


class _Session:
    def __init__(self, host: MailHost, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.host, self.reader, self.writer = host, reader, writer
        self.encrypted = host.implicit
        self.login: str | None = None
        self.sender = ""
        self.recipients: list[str] = []

    async def run(self) -> None:
        await self.say("220 mail.test ready")
        while line := (await self.reader.readline()).decode().rstrip("\r\n"):
            self.host.commands.append(line)
            verb = line.split(" ")[0].split(":")[0].upper()
            if verb == self.host.hangs_at:
                await self.reader.read()
                return
            if verb == "QUIT":
                await self.say("221 bye")
                return
            await getattr(self, f"on_{verb.lower()}", self.unknown)(line)

    async def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def unknown(self, _: str) -> None:
        await self.say("502 not here")

    async def on_ehlo(self, _: str) -> None:
        offers = ["STARTTLS"] if self.host.tls and not self.encrypted else []
        offers += ["AUTH PLAIN"] if self.encrypted else []
        lines = ["mail.test", *offers, "SIZE 1000000"]
        await self.say(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")

    async def on_starttls(self, _: str) -> None:
        assert self.host.tls is not None
        await self.say("220 go on")
        await self.writer.start_tls(self.host.tls)
        self.encrypted = True

    async def on_auth(self, line: str) -> None:
        self.login = base64.b64decode(line.split(" ")[2]).decode().replace("\0", ":")
        await self.say("235 welcome")

    async def on_mail(self, line: str) -> None:
        self.sender = line.partition("<")[2].partition(">")[0]
        self.recipients = []
        await self.say("250 ok")

    async def on_rcpt(self, line: str) -> None:
        recipient = line.partition("<")[2].partition(">")[0]
        if recipient in self.host.refused:
            await self.say("550 nobody of that name")
            return
        self.recipients.append(recipient)
        await self.say("250 ok")

    async def on_rset(self, _: str) -> None:
        await self.say("250 ok")

    async def on_data(self, _: str) -> None:
        await self.say("354 go on")
        raw = (await self.reader.readuntil(b"\r\n.\r\n"))[:-3]
        self.host.mails.append(Mail(self.sender, self.recipients, raw, self.encrypted, self.login))
        await self.say("250 kept")


@contextmanager
def running_mail_host(**facts: object) -> Iterator[MailHost]:
    host = MailHost(**facts)  # type: ignore[arg-type]
    with serving(host.connection, ssl=host.tls if host.implicit else None) as host.port:
        yield host
